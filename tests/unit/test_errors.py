"""Exit codes are a contract with schedulers: distinct, documented, and never renumbered."""

from __future__ import annotations

import ast
import inspect

import pytest

from etl import errors
from etl.errors import EtlError, ExitCode

KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, EtlError)]
FAMILIES = EtlError.__subclasses__()


def test_the_numbers_never_change() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "UNEXPECTED": 1,
        "USAGE": 2,
        "NOT_PUBLISHED": 3,
        "SHRINK_REFUSED": 4,
        "SOURCE_UNREACHABLE": 5,
        "STORE_FAILED": 6,
        "DAMAGED": 7,
        "VERIFY_FAILED": 8,
        "INCOMPLETE": 9,
        "CHECKS_FAILED": 10,
        "BATCH_FAILED": 11,
        "INTERRUPTED": 130,
    }


def test_no_two_names_share_a_number() -> None:
    assert len(ExitCode.__members__) == len({code.value for code in ExitCode})
    assert all(0 <= code <= 255 for code in ExitCode)


def test_every_kind_of_error_has_a_code_of_its_own() -> None:
    codes = [kind.exit_code for kind in KINDS if kind in FAMILIES]
    assert len(codes) == len(set(codes))
    assert set(codes) == set(ExitCode) - {ExitCode.OK, ExitCode.UNEXPECTED, ExitCode.INTERRUPTED}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in (EtlError, *FAMILIES)])
def test_a_special_case_of_an_error_keeps_its_code(kind: type[EtlError]) -> None:
    (parent,) = kind.__bases__
    assert issubclass(parent, EtlError)
    assert kind.exit_code == parent.exit_code


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_what_and_what_next(kind: type[EtlError]) -> None:
    error = kind("it went wrong", hint="do it again")
    assert str(error) == error.message == "it went wrong"
    assert error.hint == "do it again"
    assert kind("it went wrong").hint is None


def test_every_exit_code_says_when_it_is_used() -> None:
    (enum,) = (node for node in ast.parse(inspect.getsource(ExitCode)).body if isinstance(node, ast.ClassDef))
    body = enum.body[1:]
    assert len(body) == 2 * len(ExitCode)
    assert all(isinstance(node, ast.Assign) for node in body[::2])
    assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body[1::2])
