"""log_once, get_node_ip_address, custom serializers, the aliases."""

from __future__ import annotations

import ipaddress

import pytest

import skate.util
from skate.backends import serializers
from skate.util import debug


def test_log_once_is_true_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debug, "_said", {})
    assert skate.util.log_once("key")
    assert not skate.util.log_once("key")
    assert skate.util.log_once("other")

    monkeypatch.setattr(debug, "_is_disabled", True)
    assert not skate.util.log_once("third")


def test_the_address_is_an_address() -> None:
    ipaddress.ip_address(skate.util.get_node_ip_address())


def test_names_of_util_are_there_and_others_are_not() -> None:
    for name in skate.util.__all__:
        assert getattr(skate.util, name) is not None, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = skate.util.nothing


def test_serializers_are_checked() -> None:
    with pytest.raises(TypeError, match="class"):
        skate.util.register_serializer(3, serializer=str, deserializer=int)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="callable"):
        skate.util.register_serializer(int, serializer=3, deserializer=int)  # type: ignore[arg-type]
    skate.util.register_serializer(_Closed, serializer=lambda _: 1, deserializer=_Closed.open)
    assert _Closed in serializers.custom_serializers
    skate.util.deregister_serializer(_Closed)
    skate.util.deregister_serializer(_Closed)
    assert _Closed not in serializers.custom_serializers


class _Closed:
    @classmethod
    def open(cls, _: int) -> _Closed:
        return cls()
