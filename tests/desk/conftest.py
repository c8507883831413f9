"""Clients signed in with each role."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from builds.staff.roles import ADMINS, EDITORS, VIEWERS

SignIn = Callable[[str], Client]


@pytest.fixture(autouse=True)
def _data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


@pytest.fixture
def sign_in(db: None) -> SignIn:
    """A client signed in as a new user with the role, or without any role if it is empty."""

    def client(role: str = "") -> Client:
        user = User.objects.create_user(f"{role or 'nobody'}-{User.objects.count()}")
        if role:
            user.groups.add(Group.objects.get(name=role))
        signed_in = Client()
        signed_in.force_login(user)
        return signed_in

    return client


@pytest.fixture
def viewer(sign_in: SignIn) -> Client:
    return sign_in(VIEWERS)


@pytest.fixture
def editor(sign_in: SignIn) -> Client:
    return sign_in(EDITORS)


@pytest.fixture
def admin(sign_in: SignIn) -> Client:
    return sign_in(ADMINS)
