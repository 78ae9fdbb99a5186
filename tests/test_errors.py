import inspect

from wardround import errors


def _tree() -> list[type[errors.WardroundError]]:
    return [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.WardroundError)]


def test_every_error_stands_in_the_drawn_tree() -> None:
    drawn = errors.__doc__ or ""
    assert [c.__name__ for c in _tree() if c.__name__ not in drawn] == []


def test_codes_are_unique_and_say_their_branch() -> None:
    codes = [c.code for c in _tree()]
    assert len(set(codes)) == len(codes)
    assert errors.DecodeError.code.startswith(errors.ProtocolError.code)


def test_who_must_react_decides_the_exit_status() -> None:
    assert errors.ConfigError.exit_status == errors.UsageError.exit_status == 2
    assert len({errors.UsageError.exit_status, errors.DataError.exit_status, errors.RoundError.exit_status}) == 3
