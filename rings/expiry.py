"""What a mark takes away: links not seen for a window, accounts without any, hubs nobody was seen on."""

from __future__ import annotations

from rings.membership import Membership


def expire(membership: Membership, patterns: dict[int, tuple[str, ...]], until_us: int) -> int:
    """Take away links last seen at or before `until_us`, and what is left over then. The number of links."""
    links, mark_us = membership.links, membership.rules.mark_us
    taken = 0
    for entry in links.due(until_us, mark_us):
        if entry < 0:
            _expire_user(membership, patterns, -1 - entry, until_us)
        elif links.link_last[entry] > until_us:
            links.wait(links.link_last[entry] // mark_us, entry)
        else:
            _expire_link(membership, patterns, entry)
            taken += 1
    for e in [e for e, last_us in links.hubs.items() if last_us <= until_us and not links.hub_links[e]]:
        links.end_hub(e)
    return taken


def _expire_link(membership: Membership, patterns: dict[int, tuple[str, ...]], link: int) -> None:
    links = membership.links
    u, e = links.link_user[link], links.link_thing[link]
    touched = links.remove(link)
    if touched:
        membership.unlinked(e, touched)
        membership.registry.measure_again(touched)
    if not links.user_links[u]:
        _drop_user(membership, patterns, u)


def _expire_user(membership: Membership, patterns: dict[int, tuple[str, ...]], u: int, until_us: int) -> None:
    """An account that had no links when it was put aside."""
    links = membership.links
    if not links.user_name[u] or links.user_links[u]:
        return
    if links.user_first[u] <= until_us:
        _drop_user(membership, patterns, u)
    else:
        links.wait(links.user_first[u] // membership.rules.mark_us, -1 - u)


def _drop_user(membership: Membership, patterns: dict[int, tuple[str, ...]], u: int) -> None:
    membership.gone(u)
    patterns.pop(u, None)
    membership.links.drop_user(u)
