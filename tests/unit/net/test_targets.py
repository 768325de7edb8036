"""Corpus C15: whatever a host is called, nothing connects inwards."""

import asyncio
import ipaddress
from collections.abc import Sequence

import pytest

from net.targets import Forbidden, find, host_name, is_global

# As a user may type them: none of them leads to a public address.
SPELLINGS = """
127.0.0.1 127.0.0.1. 127.0.0.2 127.1 127.0.1 0127.0.0.1 0177.0.0.1 0x7f.0.0.1 0x7f.1 0x7f000001
0X7F000001 2130706433 017700000001 127.0.0.01 127.000.000.001 00127.0.0.1 127.0.0.1:80 0 0.0.0.0 0x0
0.1 1 1.2 256.1.1.1 127.0.0.256 4294967295 4294967296 99999999999 0xffffffff 0x100000000 1e3 -1
+127.1 10.0.0.1 10.255.255.255 10.1 172.16.0.1 172.31.255.255 192.168.0.1 192.168.1 169.254.169.254
169.254.0.1 0xa9fea9fe 2852039166 100.64.0.1 100.127.255.255 192.0.0.1 192.0.0.170 192.0.2.1
198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1
255.255.255.255 192.88.99.1 192.31.196.1 192.52.193.1 192.175.48.1 0.1.2.3
::1 [::1] :: [::] 0:0:0:0:0:0:0:1 0000:0000:0000:0000:0000:0000:0000:0001 ::0001 ::127.0.0.1
::7f00:1 ::ffff:127.0.0.1 [::ffff:127.0.0.1] ::ffff:7f00:1 0:0:0:0:0:ffff:127.0.0.1
::ffff:10.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::7f00:1
64:ff9b::8.8.8.8 64:ff9b:1::10.0.0.1 2002:7f00:1:: 2002:0a00:0001::1 2002:c0a8:1:: 2002:808:808::
2001:0:7f00:1::1 2001::1 2001:0000:4136:e378:8000:63bf:3fff:fdd2 2001:10::1 2001:20::1 2001:2::1
2001:db8::1 3fff::1 fe80::1 fe80::1%eth0 fe80::1%25lo [fe80::1%1] fec0::1 fc00::1 fd00::1
fd12:3456:789a::1 ff02::1 ff0e::1 ff05::2 100::1 5f00::1 4000::1 2620:4f:8000::1 0100::
１２７.0.0.1 １２７．０．０．１ ①②⑦.0.0.1 127。0。0。1 127｡0｡0｡1 ⑯⑨。254。169。254 0ⅹ7f000001
ⓛocal.127.0.0.1 a.0x7f a.1 x.127.0.0.1 [127.0.0.1] [127.1] 127.0.0.1%00 [::1 ::1] 1.1.1.1.1
127.0.0.1/8 user@127.0.0.1 //127.0.0.1 127.0.0.1#a 127.0.0.1?a \\127.0.0.1 a..b .a -a.b a-.b a_b..
""".split()  # noqa: SIM905 - one spelling a word

INNER_NAMES = ("localhost", "LOCALHOST.", "localhost.localdomain", "ip6-localhost", "db", "printer")


async def resolve(name: str) -> list[str]:
    """A resolver that takes every number for an address, as some do."""
    try:
        return [str(ipaddress.ip_address(int(name.split(".")[0], 0)))]
    except ValueError:
        return ["127.0.0.1"]


def test_there_are_enough_spellings() -> None:
    assert len({*SPELLINGS, *INNER_NAMES}) >= 120


@pytest.mark.parametrize("text", [*SPELLINGS, *INNER_NAMES, "", " ", "a b", "a\0b", "a\r\nb"])
async def test_no_spelling_leads_inwards(text: str) -> None:
    with pytest.raises(Forbidden):
        await find(text, resolve, ())


async def test_public_hosts_are_found() -> None:
    async def public(name: str) -> list[str]:
        return {"pop.example.net": ["8.8.8.8", "2a00:1450:4001::6c"], "xn--bcher-kva.example": []}[
            name
        ] or ["9.9.9.9"]

    found = await find("Pop.Example.NET.", public, ())
    assert (found.host, list(map(str, found.addresses)), found.private) == (
        *("pop.example.net", ["8.8.8.8", "2a00:1450:4001::6c"], False),
    )
    assert (await find("bücher.example", public, ())).host == "xn--bcher-kva.example"
    assert (await find("[2a00:1450:4001::6c]", public, ())).host == "2a00:1450:4001::6c"
    assert (await find("8.8.4.4", public, ())).host == "8.8.4.4"


@pytest.mark.parametrize(
    "answer",
    [
        ["8.8.8.8", "10.0.0.1"],  # one of them is public
        ["10.0.0.1", "8.8.8.8"],
        ["2a00:1450:4001::6c", "::ffff:127.0.0.1"],
        ["fe80::1%2"],
        ["not an address"],
        [],
    ],
)
async def test_every_address_of_a_name_must_be_allowed(answer: list[str]) -> None:
    async def mixed(_name: str) -> list[str]:
        return answer

    with pytest.raises(Forbidden):
        await find("pop.example.net", mixed, ())


async def test_a_name_is_looked_up_once() -> None:
    """Rebinding: another answer the second time helps nobody."""
    answers = iter([["8.8.8.8"], ["127.0.0.1"]])

    async def rebinding(_name: str) -> Sequence[str]:
        return next(answers)

    found = await find("pop.example.net", rebinding, ())
    assert [str(each) for each in found.addresses] == ["8.8.8.8"]
    assert list(answers) == [["127.0.0.1"]]


async def test_a_resolver_that_fails_or_never_answers_is_no_other_answer() -> None:
    async def fails(_name: str) -> list[str]:
        raise OSError("no such name")

    async def too_late(_name: str) -> list[str]:
        raise TimeoutError

    for resolver in (fails, too_late):
        with pytest.raises(Forbidden):
            await find("pop.example.net", resolver, ())


async def test_private_networks_must_be_named() -> None:
    async def inner(_name: str) -> list[str]:
        return ["10.1.2.3"]

    lan = [ipaddress.ip_network("10.1.0.0/16")]
    assert (await find("mail.lan", inner, lan)).private
    assert (await find("10.1.9.9", inner, lan)).private
    for other in ("10.2.0.1", "::ffff:10.1.2.3", "127.0.0.1"):
        with pytest.raises(Forbidden):
            await find(other, inner, lan)


def test_what_is_global_is_what_the_registries_give_out() -> None:
    for text in ("1.1.1.1", "9.9.9.9", "172.15.0.1", "172.32.0.1", "223.255.255.255",
                 "2606:4700::1111", "2001:200::1", "3ffe::1"):  # fmt: skip
        assert is_global(ipaddress.ip_address(text)), text
    assert isinstance(host_name("example.de"), str)
    assert asyncio.iscoroutinefunction(find)
