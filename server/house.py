"""What the API, /readyz and /metrics tell of the whole server."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

from api.call import Facts, Sample, Setting
from api.models_doctor import Findings, GroupName
from net import metrics
from net.listen import Endpoint
from net.metrics import Counts, Gauges
from net.tls import Certificate
from server import acme_files
from server.config import Config, settings
from server.config_forms import mask
from server.counters import Counters
from server.doctor import Patient, examine
from server.domain_dns import DomainDns
from server.history import History
from store.store import Store


@dataclass(slots=True)
class House:
    """An `api.call.House`. `serving` is true from the end of the start to the stop."""

    config: Config
    store: Store
    certificate: Certificate
    counters: Counters
    listening: Mapping[str, Sequence[Endpoint]]
    started_at: datetime
    past: History
    serving: bool = False

    async def examine(self, only: Collection[GroupName] | None = None) -> Findings:
        patient = Patient(self.config, self.store, self.certificate, self.listening, self.counters)
        return await examine(patient, only)

    async def doctor(self, *, only: list[GroupName] | None = None) -> dict[str, Any]:
        """The same, for the command line."""
        return (await self.examine(only)).model_dump(mode="json")

    @property
    def dns(self) -> DomainDns:
        return DomainDns(self.config, self.certificate.key_sha256)

    @property
    def store_url(self) -> str:
        """Without its password, from wherever it was configured."""
        return mask(self.store.url)

    @property
    def metrics(self) -> Counts:
        return self.counters.metrics

    async def facts(self) -> Facts:
        return Facts(
            version=version("restante"),
            started_at=self.started_at,
            listeners={name: list(map(str, found)) for name, found in self.listening.items()},
            certificates=[(self.certificate.fingerprint, self.certificate.days_left)],
            store_url=self.store_url,
            free_octets=self._free_octets(),
            backup_age_s=await self.store.nightly.age_s(),
        )

    def settings(self) -> Sequence[Setting]:
        return [Setting(**asdict(each)) for each in settings(self.config)]

    async def readiness(self) -> Mapping[str, bool]:
        return {
            "listeners": self.serving,
            "store": await self.store.writable(),
            "space": not self.store.short_of_space(),
        }

    async def challenge(self, token: str) -> bytes | None:
        return await asyncio.to_thread(acme_files.challenge, self.config.server.data_dir, token)

    async def gauges(self) -> Gauges:
        size, counters = await self.store.size(), self.counters
        limiters = {"smtp": counters.smtp, "pop3": counters.pop3, "http": counters.http}
        return {
            metrics.CONNECTIONS: {
                name: await limiter.count() for name, limiter in limiters.items()
            },
            metrics.QUEUE: {"": self.store.queued()},
            metrics.ACCOUNTS: {"": size.accounts},
            metrics.MESSAGES: {"": size.messages},
            metrics.MESSAGE_OCTETS: {"": size.octets},
            metrics.STORED_OCTETS: {"": size.stored},
            metrics.FREE_OCTETS: {"": self._free_octets()},
            metrics.CERTIFICATE_DAYS: {"": self.certificate.days_left},
            metrics.READY: {part: int(well) for part, well in (await self.readiness()).items()},
        }

    def history(self) -> Sequence[Sample]:
        return self.past.samples()

    def _free_octets(self) -> int:
        return shutil.disk_usage(self.config.server.data_dir).free
