"""The ten patterns on small stories, through state, rings and all scorers: the fraud is named, with its accounts and numbers;
honest people are left alone. Stories of accounts, cards and places are in support/stories.py; of carts, gifts, sessions here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import pytest
from support import stories
from support.stories import DAY, HOUR, Story, Told, in_time, new_stream, own, tell


def holds_again(articles: tuple[str, ...] = ("console",) * 6) -> Story:
    """The last pieces of one article (or one of each, undecided) held every ten minutes, never bought."""
    s = Story().market()
    mine = s.customer("lars", 66)
    for k, sku in enumerate(articles):
        s.do(10 * k, "cart_hold", "lars", f"hold{k}", device=mine["device"], ip=mine["ip"], sku=sku, quantity=2)
    return s


def cheap(s: Story, price: int) -> Story:
    """A television of 800.00 becomes cheap."""
    s.do(-3 * DAY, "price_change", None, sku="tv", price=80_000)
    s.do(0, "price_change", None, sku="tv", price=price)
    return s


def price_slip() -> Story:
    """Somebody sets a fifth of the price; three accounts of one computer buy within half an hour."""
    s = cheap(Story().market(), 16_000)
    for k in range(3):
        mine = {**s.customer(f"pal{k}", 50 + k), "device": "pals-pc"}
        s.buy(6 + 8 * k, f"pal{k}", 16_000, mark=f"pal{k}", sku="tv", price=16_000, quantity=1, **mine)
    return s


def drained() -> Story:
    """One article, one card, a new account for every piece."""
    s = Story().market()
    for k in range(5):
        mine = {**own(f"straw{k}"), "card": "return-card"}
        s.do(7 * HOUR * k, "signup", f"straw{k}", device=mine["device"], ip=mine["ip"])
        s.buy(7 * HOUR * k + 50, f"straw{k}", 12_900, mark=f"straw{k}", sku="shoe", price=12_900, quantity=1, **mine)
    return s


def flash_sale() -> Story:
    """An announced sale: old customers buy the same article, each with what is theirs."""
    s = cheap(Story().market(), 24_000)
    for k in range(15):
        s.buy(1 + 2 * k, f"fan{k}", 24_000, sku="tv", price=24_000, quantity=1, **s.customer(f"fan{k}", 45 + k))
    return s


def held_then_ordered() -> Story:
    """Day after day something is held twice and then ordered."""
    s = Story().market()
    mine = s.customer("mona", 90)
    for day in range(5):
        for minute in (0, 15):
            s.do(day * DAY + minute, "cart_hold", "mona", sku="lamp", device=mine["device"], ip=mine["ip"])
        s.buy(day * DAY + 30, "mona", 5200, sku="lamp", price=5200, **mine)
    return s


def skipped_steps(before: str = "session_step") -> Story:
    """From the front page (or, honestly, an article held in the app) straight to a paid confirmation."""
    s = Story().market()
    mine = {**s.customer("olga", 70), "session": "forced"}
    s.do(0, before, "olga", step="home", sku="lamp", session="forced", device=mine["device"])
    s.do(1, "payment", "olga", "paid", **mine, amount=15_900, outcome="approved", merchant="shop")
    return s


def phantom_refunds() -> Story:
    """Two accounts ask for money back that they never paid, to one bank account."""
    s = Story().market()
    for k in range(2):
        s.customer(f"claimer{k}", 30 + k)
        s.do(50 * k, "refund", f"claimer{k}", f"claim{k}", device=f"claimer{k}-phone", bank_account="iban", amount=8000,
             order_id=f"never{k}", outcome="approved")  # fmt: skip
    return s


def underpaid() -> Story:
    """Two pieces of 129.00 for 9.00."""
    s = Story().market()
    mine = s.customer("pia", 70)
    s.do(0, "order", "pia", "order", **mine, amount=900, price=12_900, quantity=2, order_id="u", merchant="shop")
    return s


def terminal() -> Story:
    """Paid at the counter, outside of any session."""
    s = Story().market()
    for k in range(6):
        card = s.customer(f"walkin{k}", 60 + k)["card"]
        s.do(9 * k, "payment", f"walkin{k}", card=card, amount=4900, outcome="approved", merchant="shop")
    return s


def by_the_book() -> Story:
    """Cart, checkout, an order with a coupon of a quarter, half of it back; and a refund of an order from before our time."""
    s = Story().market()
    mine = {**s.customer("quin", 70), "session": "calm"}
    for k, step in enumerate(("home", "cart", "checkout")):
        s.do(k, "session_step", "quin", step=step, session="calm", device=mine["device"], ip=mine["ip"])
    s.buy(5, "quin", 7500, price=5000, quantity=2, **mine)
    s.do(6 * DAY, "refund", "quin", amount=3750, order_id="quin@5", outcome="approved", card=mine["card"])
    s.do(10, "login", "elder", **own("elder"))
    s.do(50, "refund", "elder", amount=5000, order_id="long-ago", outcome="approved", card="elder-card")
    return s


def takers(n: int, **shared: str) -> Story:
    """New accounts a few hours apart, each takes the welcome gift."""
    s = Story().market()
    for k in range(n):
        mine = {**own(f"taker{k}"), **shared}
        s.do(5 * HOUR * k, "signup", f"taker{k}", **mine)
        s.do(5 * HOUR * k + 9, "promo_redeem", f"taker{k}", f"taker{k}", promo="welcome", amount=1000, **mine)
    return s


def sim_first(n: int = 3) -> Story:
    """The number is given at the sign-up, the gift taken without it; only the last one orders, and says it again."""
    s = Story().market()
    for k in range(n):
        s.do(5 * HOUR * k, "signup", f"taker{k}", **own(f"taker{k}"), phone="sim")
        s.do(5 * HOUR * k + 9, "promo_redeem", f"taker{k}", f"gift{k}", promo="welcome", **own(f"taker{k}"))
    s.buy(5 * HOUR * n, f"taker{n - 1}", 2900, mark="last", **own(f"taker{n - 1}"), phone="sim")
    return s


def house_gift() -> Story:
    """Six old accounts of a house; the seventh is new and takes its gift."""
    s = Story().market()
    for k in range(6):
        s.customer(f"tenant{k}", 40 + 33 * k, address="house")
    mine = {**own("tenant6"), "address": "house"}
    s.do(0, "signup", "tenant6", **mine)
    s.do(10, "promo_redeem", "tenant6", promo="welcome", amount=1000, **mine)
    s.buy(20, "tenant6", 3300, **mine)
    return s


def stolen_cookie(buys: int = 8) -> Story:
    """Seven minutes after the last step the session goes on somewhere else."""
    s = Story().market()
    mine = s.customer("rosa", 60, buys=buys)
    here, there = {**mine, "session": "c1"}, {"device": "other-box", "ip": "other-net", "session": "c1"}
    s.do(0, "login", "rosa", outcome="success", agent="Safari", **here)
    s.do(4, "session_step", "rosa", "home", step="cart", agent="Safari", **here)
    s.do(11, "session_step", "rosa", "moved", step="account", agent="curl", **there)
    s.buy(13, "rosa", 21_000, mark="bought", agent="curl", **{**here, **there})
    return s


def cookie_shop() -> Story:
    """One computer behind a crowded network goes on with the sessions of four accounts."""
    s = Story().market()
    for n in range(8):
        s.do(-DAY + n, "login", f"market{n}", ip="carrier", device=f"market{n}-phone", outcome="success")
    for k in range(4):
        here = {**s.customer(f"logged{k}", 60 + k), "session": f"c{k}"}
        s.do(50 * k, "login", f"logged{k}", outcome="success", agent="Safari", **here)
        there = {"device": "fence-pc", "ip": "carrier", "session": f"c{k}", "agent": "curl"}
        s.do(50 * k + 9, "session_step", f"logged{k}", f"moved{k}", step="account", **there)
    return s


def emulator() -> Story:
    """One device, a new account an hour, each with another version of the browser."""
    s = Story().market()
    for k in range(4):
        mine = {"device": "emulator", "ip": f"exit{k}", "agent": f"Chrome/{90 + k}"}
        s.do(55 * k, "signup", f"bot{k}", f"bot{k}", **mine)
        s.do(55 * k + 3, "login", f"bot{k}", outcome="success", **mine)
    return s


def two_devices() -> Story:
    """Phone and laptop side by side; a session resumed on the train; a laptop's browser that updates itself."""
    s = Story().market()
    home = s.customer("sven", 60)["ip"]
    for day in range(4):
        m = day * DAY
        phone = {"device": "sven-phone", "session": f"p{day}", "agent": "Safari"}
        s.do(m, "login", "sven", ip=home, outcome="success", **phone)
        laptop = {"device": "sven-laptop", "session": f"l{day}", "ip": home}
        s.do(m + 5, "login", "sven", outcome="success", agent="Firefox", **laptop)
        s.do(m + 40, "session_step", "sven", step="view", ip="train", **phone)
        s.do(m + 60, "session_step", "sven", step="view", agent=f"Firefox {day}", **laptop)
    return s


def pieces(n: int, **shared: str) -> Story:
    """New accounts with everything their own but one piece."""
    s = Story().market()
    for k in range(n):
        s.do(9 * HOUR * k, "signup", f"syn{k}", f"syn{k}", **own(f"syn{k}"), **shared)
        s.do(9 * HOUR * k + 30, "login", f"syn{k}", **own(f"syn{k}"), outcome="success")
    return s


def chain() -> Story:
    """Each shares its phone with the one before and its e-mail with the one after, or the other way round."""
    s = Story().market()
    for k in range(6):
        shared = {"phone": f"phone{(k + 1) // 2}", "email": f"mail{k // 2}"}
        s.do(11 * HOUR * k, "signup", f"link{k}", f"link{k}", **own(f"link{k}"), **shared)
    return s


def landline() -> Story:
    """A family's number and address under accounts of many years, and a new one."""
    s = Story().market()
    for k in range(4):
        s.customer(f"kin{k}", 400 - 110 * k, phone="landline", address="house")
    for minute, type_ in ((0, "signup"), (30, "login")):
        s.do(minute, type_, "kin4", **{**own("kin4"), "phone": "landline", "address": "house"})
    return s


def burst(gap: float, n: int, amount: int = 9900) -> Story:
    """Payment after payment, each in another shop."""
    s = Story().market()
    mine = s.customer("tom", 77)
    for k in range(n):
        s.do(gap * k, "payment", "tom", f"pay{k}", **mine, amount=amount, outcome="approved", merchant=f"stall{k}")
    return s


def hands() -> Story:
    """One card through three accounts within the hour."""
    s = Story().market()
    for k in range(3):
        s.customer(f"hand{k}", 30 + k)
    for k in range(7):
        u = f"hand{k % 3}"
        s.do(9 * k, "payment", u, f"pay{k}", device=f"{u}-phone", card="passed-on", amount=7900, outcome="approved")
    return s


def shopping_list() -> Story:
    """Nine things in half an hour, each ordered and paid."""
    s = Story().market()
    mine = s.customer("ulla", 77)
    for k in range(9):
        s.buy(4 * k, "ulla", 1900 + k, **mine)
    return s


def declined_retries() -> Story:
    """The card is declined seven times in as many minutes."""
    s = Story().market()
    mine = s.customer("vito", 77)
    for k in range(8):
        outcome = "approved" if k == 7 else "declined"
        s.do(1 + k, "payment", "vito", **mine, amount=900, outcome=outcome, merchant="shop")
    return s


def busy_till(*, orders: bool) -> Story:
    """A customer every three minutes on the shop's own device, each with an order, or with payments alone."""
    s = Story().market()
    for k in range(20):
        mine = {**s.customer(f"cust{k}", 40 + k), "device": "till", "merchant": "shop", "amount": 4900}
        if orders:
            s.buy(3 * k, f"cust{k}", **mine)
        else:
            s.do(3 * k, "payment", f"cust{k}", **mine, outcome="approved")
    return s


def some(name: str, numbers: range | tuple[int, ...]) -> tuple[str, ...]:
    return tuple(f"{name}{k}" for k in numbers)


device_gift, sim_gift = partial(takers, 4, device="emu"), partial(takers, 3, phone="sim")
iban_gift, iban_pieces = partial(takers, 5, bank_account="iban"), partial(pieces, 4, bank_account="iban")
sim_pieces, mail_pieces = partial(pieces, 5, phone="sim"), partial(pieces, 5, email="m")
fast, patient, sparse_cookie = partial(burst, 1.5, 7), partial(burst, 9.0, 7), partial(stolen_cookie, 3)
one_laptop, lately_opened = partial(stories.serial_drop, 4, "laptop"), partial(stories.serial_takeover, 4, 1.3)
dead_numbers = partial(stories.fresh_testers, 5, "charity", "declined")
AT, CT, CA, GI = "account_takeover", "card_testing", "coordinated_accounts", "geographic_impossibility"
IP, LB, PA, SH = "inventory_price", "logic_bypass", "promo_abuse", "session_hijack"
SI, VE = "synthetic_identity", "velocity"

NAMED = [
    # pattern, story, not yet named at, named at, accounts, reason, its words
    (AT, stories.taken_over, "first", "second", ("anna",), "changed_from_elsewhere", "2 changes of the profile in a day"),
    (AT, stories.taken_over, "in", "spent", ("anna",), "changed_and_redirected", "2 changes of the profile in a day and a purchase"),
    (AT, stories.guessed, "changed", "spent order", ("bela",), "guessed_and_changed", "2 failed logins, 1 change"),
    (AT, stories.serial_takeover, "loot0", "loot3", some("victim", (3, 0, 1, 2)), "serial_device", "4 old accounts"),
    (AT, lately_opened, "loot0", "loot3", some("victim", (3, 0, 1, 2)), "serial_logins", "4 accounts, none of them new, came to this device"),
    (AT, one_laptop, "drop0", "drop2", some("robbed", (2, 0, 1)), "serial_device_and_delivery", "3 old accounts came anew to this device and 3"),
    (AT, stories.serial_drop, "drop0", "drop3", some("robbed", (3, 0, 1, 2)), "serial_delivery", "new device for 17.0 min"),
    (CT, stories.many_cards, "try0", "try3", ("emil",), "many_cards", "4 cards in a day on this account, 3 declined"),
    (CT, stories.fresh_testers, "", "pay2", ("throwaway2",), "first_thing", "6.0 min old pays 1.99 without an order"),
    (CT, dead_numbers, "", "pay2", ("throwaway2",), "first_thing_declined", "on a card never seen before, 1 declined in an hour"),
    (CT, stories.patient_tester, "", "small1", ("fritz",), "card_after_card", "a small payment (11.00) without an order"),
    (CT, stories.patient_tester, "", "big", ("fritz",), "worked", "a payment of 900.00 without an order, on a card that came 1.5 h"),
    (CA, stories.farm, "farm0", "farm4", some("farm", (4, 0, 1, 2, 3)), "opened_together_device", "they came: 5, 100% of all"),
    (CA, stories.card_pool, "mule0", "mule4", some("mule", (4, 0, 1, 2, 3)), "pool_card", "left their own card for this card: 5"),
    (CA, stories.card_pool, "mule1", "mule2", some("mule", (2, 0, 1)), "ring_of_cards", "a ring of 3 accounts, 100% of which"),
    (CA, stories.strangers_card, "buyer0", "buyer1 order", some("buyer", (1, 0)), "card_of_strangers", "known for 1.6 d is used by 2"),
    (GI, stories.two_places, "", "far", ("hanno",), "two_places", "15,791 km/h needed over 5,264 km"),
    (GI, stories.chain_of_cities, "Porto", "Athens", ("ines",), "hops", "3 moves in a row to another far place"),
    (GI, stories.cloned_card, "Hamburg", "Porto order", some("clone", (2, 0, 1)), "cloned_card", "in another country by 3 accounts"),
    (IP, holds_again, "hold0", "hold3", ("lars",), "holds_user", "4 holds in a row by this user without a purchase, 4 in a row of one"),
    (IP, price_slip, "pal0", "pal2 order", some("pal", (2, 0, 1)), "linked_buyers_device", "fell to 0.20 of what it was 22.0 min ago; 3 orders"),
    (IP, drained, "straw1", "straw3 order", some("straw", (3, 0, 1, 2)), "drained_card", "4 orders in a row of one article"),
    (LB, skipped_steps, "", "paid", ("olga",), "skipped_steps", "100% of this merchant's payments follow an order"),
    (LB, phantom_refunds, "", "claim0", ("claimer0",), "phantom_refund", "never placed or paid"),
    (LB, phantom_refunds, "", "claim1", some("claimer", (1, 0)), "phantom_payout", "a bank account of 2 accounts"),
    (LB, underpaid, "", "order", ("pia",), "underpaid", "the order is paid with 0.03 of"),
    (PA, device_gift, "taker0", "taker3", some("taker", (3, 0, 1, 2)), "again_device", "on their first day: 4, 100% of all"),
    (PA, sim_gift, "taker0", "taker1", some("taker", (1, 0)), "again_phone", "on their first day: 2, 100% of all"),
    (PA, sim_first, "gift2", "last order", some("taker", (2, 0, 1)), "again_phone", "on their first day: 3, 100% of all"),
    (PA, iban_gift, "taker0", "taker4", some("taker", (4, 0, 1, 2, 3)), "again_bank_account", "on their first day: 5"),
    (SH, stolen_cookie, "home", "moved", ("rosa",), "moved_session", "account 60.0 d old goes on from a device it knows for 0 s"),
    (SH, stolen_cookie, "home", "bought", ("rosa",), "moved_session", "a device it knows for 4.0 min"),
    (SH, sparse_cookie, "moved", "bought", ("rosa",), "moved_and_spent", "knows for 4.0 min, with another browser and a new ip, and spends 210.00"),
    (SH, cookie_shop, "moved0", "moved3", some("logged", (3, 0, 1, 2)), "moved_to_one_device", "sessions of 4 accounts went on at this device"),
    (SH, emulator, "bot0", "bot3", some("bot", (3, 0, 1, 2)), "many_browsers", "its browser 3 times with 4 accounts opened on it"),
    (SI, sim_pieces, "syn1", "syn4", some("syn", (4, 0, 1, 2, 3)), "pieces_phone", "on their first day: 5, 100% of all"),
    (SI, iban_pieces, "syn1", "syn3", some("syn", (3, 0, 1, 2)), "pieces_bank_account", "on their first day: 4, 100%"),
    (SI, mail_pieces, "syn0", "syn2", some("syn", (2, 0, 1)), "pieces_email", "on their first day: 3, 100% of all"),
    (SI, chain, "link1", "link5", some("link", (5, 0, 1, 2, 3, 4)), "chain", "6 accounts, 100% of them new, hold together by 2 kinds"),
    (VE, fast, "pay1", "pay5", ("tom",), "burst_user", "6 approved payments in 10 min by this user"),
    (VE, patient, "pay1", "pay6", ("tom",), "hour_user", "7 approved payments in an hour by this user"),
    (VE, hands, "pay1", "pay6", some("hand", (0, 1, 2)), "hour_card", "7 approved payments in an hour by this card"),
    (VE, hands, "pay1", "pay4", some("hand", (1, 0, 2)), "hands", "5 approved payments in an hour on this card by 3 accounts"),
]  # fmt: skip


@cache
def told(story: Callable[[], Story]) -> Told:
    return tell(story())


@pytest.mark.parametrize(
    ("pattern", "story", "quiet", "mark", "accounts", "code", "words"), NAMED, ids=[f"{n[5]}@{n[3]}" for n in NAMED]
)
def test_fraud_is_named_with_its_accounts_and_numbers(
    pattern: str, story: Callable[[], Story], quiet: str, mark: str, accounts: tuple[str, ...], code: str, words: str
) -> None:
    seen = told(story)
    assert pattern in seen.patterns(mark)
    assert seen.accounts(mark) == accounts
    assert words in seen.text(mark, f"{pattern}.{code}")
    assert seen.decisions.level[seen.row(mark)] >= 2
    assert not quiet or pattern not in seen.patterns(quiet)


HONEST = [
    stories.new_phone, stories.shop_tablet, stories.undecided_beginner, stories.broken_terminal,
    stories.first_order, partial(stories.family, at_once=False), partial(stories.family, at_once=True), stories.campus,
    stories.tunnel, stories.traveller, stories.business_flight, partial(stories.two_places, 8),
    partial(stories.fresh_testers, 5, "charity"),
    flash_sale, held_then_ordered, partial(holds_again, ("tv", "lamp", "shoe", "mug")), terminal, by_the_book,
    partial(skipped_steps, "cart_hold"), partial(takers, 4), house_gift, two_devices, landline, partial(pieces, 4),
    shopping_list, declined_retries, partial(busy_till, orders=True), partial(busy_till, orders=False),
    partial(burst, 8.5, 4), partial(burst, 8.5, 8, 1900), partial(burst, 1.5, 7, 199),
]  # fmt: skip


@pytest.mark.parametrize("story", HONEST, ids=[getattr(s, "__name__", str(n)) for n, s in enumerate(HONEST)])
def test_honest_people_are_named_nothing(story: Callable[[], Story]) -> None:
    assert told(story).named() == []


@pytest.mark.parametrize("story", list(dict.fromkeys(n[1] for n in NAMED)))
def test_only_those_of_the_story_are_named_and_every_pattern_gives_its_reasons(story: Callable[[], Story]) -> None:
    decisions = told(story).decisions
    for row, patterns in enumerate(decisions.patterns):
        assert all(not a.startswith("market") for a in decisions.accounts[row])
        assert bool(patterns) == bool(decisions.accounts[row])
        given = {r.code.split(".")[0] for r in decisions.reasons[row]}
        assert set(patterns) <= given, "never only among the others"


def test_the_ten_are_all_here() -> None:
    assert {n[0] for n in NAMED} == {AT, CT, CA, GI, IP, LB, PA, SH, SI, VE}
    assert all(docs.__doc__ for _, docs, *_ in NAMED if not isinstance(docs, partial))


@pytest.mark.parametrize("cut", [1, 13])
def test_names_and_accounts_do_not_depend_on_the_cut(cut: int) -> None:
    whole = told(stories.card_pool).decisions
    stream, items = new_stream(), in_time(stories.card_pool().events)
    parts = [stream.feed(items[i : i + cut]) for i in range(0, len(items), cut)]
    assert [p for d in parts for p in d.patterns] == list(whole.patterns)
    assert [a for d in parts for a in d.accounts] == list(whole.accounts)
    assert [r for d in parts for r in d.reasons] == list(whole.reasons)
