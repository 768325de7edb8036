"""The server as a whole: what it is, how it is set, whether it is well."""

from __future__ import annotations

from api.call import Call, Reply
from api.models import Query
from api.models_admin import (
    CertificateDetail,
    Readiness,
    ServerDetail,
    SettingDetail,
    Settings,
    StoreDetail,
)
from api.models_doctor import DoctorQuery, Findings
from net.metrics import text

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def ready(call: Call[Query, None]) -> Reply:
    """GET /readyz: whether mail can be taken and fetched at this moment."""
    parts = await call.parts.house.readiness()
    well = all(parts.values())
    told = Readiness(ready=well, parts=dict(parts)) if call.insider else Readiness(ready=well)
    return Reply(told, status=200 if well else 503)


async def metrics(call: Call[Query, None]) -> Reply:
    """GET /metrics: counters of this process and gauges, for Prometheus."""
    house = call.parts.house
    told = text(await house.metrics.read(), await house.gauges())
    return Reply(told.encode(), content_type=METRICS_TYPE)


async def show(call: Call[Query, None]) -> ServerDetail:
    """GET /api/server: its version, listeners, certificates, store and last backup."""
    parts = call.parts
    facts, size = await parts.house.facts(), await parts.store.size()
    return ServerDetail(
        version=facts.version,
        started_at=facts.started_at,
        hostname=parts.hostname,
        listeners={name: list(found) for name, found in facts.listeners.items()},
        certificates=[
            CertificateDetail(sha256=sha256, days_left=days) for sha256, days in facts.certificates
        ],
        store=StoreDetail(
            url=facts.store_url,
            accounts=size.accounts,
            messages=size.messages,
            message_octets=size.octets,
            stored_octets=size.stored,
            file_octets=size.file_octets,
            free_octets=facts.free_octets,
        ),
        backup_age_s=facts.backup_age_s,
    )


async def doctor(call: Call[DoctorQuery, None]) -> Findings:
    """GET /api/server/doctor: what is well, and what is to be mended with which command."""
    return await call.parts.house.examine(call.query.only)


async def config(call: Call[Query, None]) -> Settings:
    """GET /api/config: every key with its value in force and where that comes from."""
    return Settings(
        items=[
            SettingDetail(
                key=each.key,
                value=each.value,
                source=each.source,
                default=each.default,
                meaning=each.meaning,
                accepted=each.accepted,
            )
            for each in call.parts.house.settings()
        ]
    )
