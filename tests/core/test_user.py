"""Roles and what a caller may."""

from itertools import pairwise

from polyhost.core.user import GUEST, MAY, ApiKey, Caller, Permission, Role


def test_each_role_may_all_that_the_one_before_it_may_and_more() -> None:
    for weaker, stronger in pairwise(Role):
        assert MAY[weaker] < MAY[stronger]


def test_a_guest_may_nothing() -> None:
    assert GUEST.is_guest
    assert not any(GUEST.may(permission) for permission in Permission)


def test_a_key_bound_to_printers_reaches_no_other() -> None:
    key = ApiKey("k", "ana", Role.OPERATOR, printers=("mk3",))
    caller = Caller("ana", Role.OPERATOR, key)
    assert caller.may(Permission.PRINT, "mk3")
    assert not caller.may(Permission.PRINT, "mk4")
    assert caller.may(Permission.UPLOAD)
    assert not caller.may(Permission.SYSTEM, "mk3")
