"""Invitations to make an account."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from api.call import Call, Reply
from api.lists import Listing
from api.models import Query
from api.models_admin import InviteDetail, InviteMade, InvitePage, ListQuery, NewInvite
from api.problems import Problem
from auth import codes
from mail.address import Address
from mail.errors import NotFound
from mail.ident import parse_row_id, row_id_text
from store.records import Invite, microseconds

LIFE = timedelta(days=7)
LONGEST = timedelta(days=365)


def detail(invite: Invite) -> InviteDetail:
    return InviteDetail(
        id=row_id_text(invite.id),
        address=str(invite.address) if invite.address else None,
        uses=invite.uses,
        created_at=invite.created_at,
        expires_at=invite.expires_at,
    )


LIST: Final[Listing[Invite]] = Listing(
    "/api/invites",
    InvitePage,
    detail,
    lambda invite: (microseconds(invite.created_at), invite.id),
)


async def index(call: Call[ListQuery, None]) -> Reply:
    """GET /api/invites: those that can be used, the oldest first."""
    return LIST.reply(call, await call.parts.store.invites.page(LIST.span(call)))


async def create(call: Call[Query, NewInvite]) -> Reply:
    """POST /api/invites: the link in the answer is told this once."""
    body, parts = call.body, call.parts
    life = LIFE if body.expires_at is None else body.expires_at - parts.clock()
    if not timedelta(0) < life <= LONGEST:
        wrong = f"must be in the next {LONGEST.days} days"
        raise Problem("invalid-body", errors=[("/expires_at", wrong)])
    code = codes.generate(codes.INVITE)
    made = await parts.store.invites.add(
        codes.invite_hash(parts.secrets_key, code),
        address=Address.parse(body.address) if body.address else None,
        uses=body.uses,
        life=life,
        by=call.account.id,
    )
    link = f"{parts.site.public_url}/register?invite={code}"
    return Reply(InviteMade(**detail(made).model_dump(), link=link), status=201)


async def remove(call: Call[Query, None]) -> Reply:
    """DELETE /api/invites/{id}: its link is good for nothing from now on."""
    try:
        await call.parts.store.invites.remove(parse_row_id(call.path["id"]))
    except ValueError as error:
        raise NotFound("there is no such invitation") from error
    return Reply(None)
