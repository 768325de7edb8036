"""The bodies of collecting: remote accounts, their runs and tests."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from api.models import Answer, Body
from api.models_admin import AddressText, Page
from store.records import Needs, StepName

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\x00-\x20\x7f]*$")]
Port = Annotated[int, Field(ge=1, le=65_535)]
Username = Annotated[str, Field(min_length=1, max_length=320, pattern=r"^[^\x00-\x1f\x7f]*$")]
Secret = Annotated[SecretStr, Field(min_length=1, max_length=1024)]
KeepDays = Annotated[int | None, Field(ge=0, le=3650)]
EveryS = Annotated[int, Field(ge=300, le=604_800)]
WaitS = Annotated[int, Field(ge=0, le=60)]
CollectorStateName = Literal["ok", "failing", "stopped"]
JobStateName = Literal["queued", "running", "done", "failed", "cancelled"]


class NewCollector(Body):
    """`host`, `port` and `username` are found out by the address where they are left out.

    `keep_days`: how long what was fetched stays there; null: for good, 0: not at all. With `test`
    it is kept only if a sign-in there succeeds.
    """

    address: AddressText
    password: Secret
    host: Host = ""
    port: Port = 995
    username: Username = ""
    keep_days: KeepDays = None
    every_s: EveryS = 300
    name: Name = ""
    paused: bool = False
    test: bool = True


class CollectorChange(Body):
    """Another host, port or user name needs the password again."""

    address: AddressText = ""
    password: Secret = Field(default=SecretStr(""))
    host: Host = ""
    port: Port = 995
    username: Username = ""
    keep_days: KeepDays = None
    every_s: EveryS = 300
    name: Name = ""
    paused: bool = False
    test: bool = False


class LastRun(Answer):
    """`seen`: what was here already. `error`: one sentence, null if all went well."""

    at: datetime
    new: int
    seen: int
    fetched: int = Field(serialization_alias="octets")
    error: str | None


class CollectorDetail(Answer):
    """`failing` is tried again by itself; `stopped`, after three refused sign-ins, is not."""

    id: str
    name: str
    address: str
    host: str
    port: int
    username: str
    keep_days: int | None
    every_s: int
    paused: bool
    state: CollectorStateName
    last_run: LastRun | None
    next_run_at: datetime


class CollectorPage(Page):
    items: list[CollectorDetail]


class RunWish(Body):
    """`wait_s`: the answer comes when the run is over, or after so long."""

    wait_s: WaitS = 0


class ReceiveWish(RunWish):
    """Without `collector_id` all of yours that are neither paused nor stopped."""

    collector_id: Annotated[str, Field(min_length=1, max_length=20)] | None = None


class Received(Answer):
    """What a run has brought so far."""

    id: str
    new: int
    seen: int
    fetched: int = Field(serialization_alias="octets")
    error: str | None


class Receiving(Answer):
    job_id: str
    collectors: list[Received]


class JobProblem(Answer):
    code: str
    detail: str


class JobResult(Answer):
    collectors: list[Received]


class JobDetail(Answer):
    """`done` of `total` messages. `problem` is that of the first collector that failed."""

    id: str
    kind: Literal["collect"]
    state: JobStateName
    done: int
    total: int
    result: JobResult
    problem: JobProblem | None


class TestStep(Answer):
    step: StepName
    ok: bool
    detail: str


class Tested(Answer):
    """None follows a step that failed. Nothing was fetched."""

    ok: bool
    steps: list[TestStep]


class DiscoverWish(Body):
    address: AddressText


class Provider(Answer):
    """`needs`: what to give; with `oauth` and `none` nothing can be fetched, and `help` says so."""

    host: str
    port: int
    username: str
    needs: Needs
    help: str
