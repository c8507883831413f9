"""Admins manage users, and can't give anybody more rights than the roles have."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from builds.staff.roles import ADMINS, EDITORS, VIEWERS

LIST = reverse("admin:auth_user_changelist")
ADD = reverse("admin:auth_user_add")


def change(user: User) -> str:
    return reverse("admin:auth_user_change", args=[user.pk])


def person(role: str, name: str = "") -> User:
    user = User.objects.create_user(name or role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user


@pytest.fixture
def admin(db: None) -> Client:
    client = Client()
    client.force_login(person(ADMINS, "ada"))
    return client


def posted(user: User, **changes: Any) -> dict[str, Any]:
    joined = user.date_joined
    return {
        "username": user.username,
        "groups": [group.pk for group in user.groups.all()],
        "is_active": "on",
        "is_staff": "on",
        "date_joined_0": f"{joined:%Y-%m-%d}",
        "date_joined_1": f"{joined:%H:%M:%S}",
        "identity-TOTAL_FORMS": 0,
        "identity-INITIAL_FORMS": 0,
        **changes,
    }


@pytest.mark.django_db
@pytest.mark.parametrize(("role", "status"), [(VIEWERS, 403), (EDITORS, 403), (ADMINS, 200)])
def test_only_admins_see_users(client: Client, role: str, status: int) -> None:
    client.force_login(person(role))
    other = User.objects.create_user("other")
    assert [client.get(page).status_code for page in (LIST, ADD, change(other))] == [status] * 3


def test_an_admin_creates_a_user_with_a_role(admin: Client) -> None:
    role = Group.objects.get(name=EDITORS)
    password = {"usable_password": "true", "password1": "a-long-passphrase-1", "password2": "a-long-passphrase-1"}
    assert admin.post(ADD, {"username": "ben", "groups": [role.pk], **password}).status_code == 302
    ben = User.objects.get(username="ben")
    assert (list(ben.groups.all()), ben.is_staff, ben.is_superuser) == ([role], False, False)


def test_an_admin_can_give_only_roles(admin: Client) -> None:
    user = person(VIEWERS)
    forged = {"is_superuser": "on", "user_permissions": [Permission.objects.get(codename="add_group").pk]}
    assert admin.post(change(user), posted(user, **forged, groups=[Group.objects.get(name=EDITORS).pk])).status_code == 302
    user.refresh_from_db()
    assert (user.is_superuser, user.user_permissions.count(), user.groups.get().name) == (False, 0, EDITORS)


def test_an_admin_deactivates_accounts_and_cannot_delete_them(admin: Client) -> None:
    user = person(VIEWERS)
    assert admin.post(reverse("admin:auth_user_delete", args=[user.pk]), {"post": "yes"}).status_code == 403
    admin.post(change(user), {key: value for key, value in posted(user).items() if key != "is_active"})
    user.refresh_from_db()
    assert not user.is_active


def test_a_superuser_cannot_delete_accounts_either(admin_page: Client) -> None:
    """The account's log entries would be deleted with it."""
    user = person(EDITORS)
    assert admin_page.post(reverse("admin:auth_user_delete", args=[user.pk]), {"post": "yes"}).status_code == 403
    admin_page.post(LIST, {"action": "delete_selected", "_selected_action": [user.pk], "post": "yes"})
    assert User.objects.filter(pk=user.pk).exists()


def test_an_admin_cannot_change_superusers(admin: Client) -> None:
    root = User.objects.create_superuser("root", password="before")
    pages = [change(root), reverse("admin:auth_user_password_change", args=[root.pk])]
    for page in pages:
        admin.post(page, posted(root, is_active="", password1="taken-over-now-1", password2="taken-over-now-1"))
    root.refresh_from_db()
    assert (root.is_active, root.check_password("before")) == (True, True)
    shown = admin.get(change(root)).text
    assert "root" in shown and "../password/" not in shown and "pbkdf2" not in shown


def test_admins_can_view_roles_but_not_change_them(admin: Client) -> None:
    role = Group.objects.get(name=ADMINS)
    page = reverse("admin:auth_group_change", args=[role.pk])
    assert (admin.get(page).status_code, admin.post(page, {"name": "x", "permissions": []}).status_code) == (200, 403)


@pytest.mark.parametrize("name", ["desci-server", "Jobsite", "JOBSITE"])
def test_a_user_name_cannot_be_that_of_a_part_of_the_service(admin: Client, name: str) -> None:
    password = {"usable_password": "true", "password1": "a-long-passphrase-1", "password2": "a-long-passphrase-1"}
    answer = admin.post(ADD, {"username": name, **password})
    assert "Choose another one." in answer.text and not User.objects.filter(username=name).exists()


def test_a_user_name_cannot_be_changed(admin_page: Client) -> None:
    """Not even by superusers: the history identifies people by their name."""
    ada = person(EDITORS, "ada")
    assert 'name="username"' not in admin_page.get(change(ada)).text
    admin_page.post(change(ada), posted(ada, username="eve", email="ada@example.org"))
    ada.refresh_from_db()
    assert (ada.username, ada.email) == ("ada", "ada@example.org")


def test_only_a_superuser_gives_groups_that_are_not_roles(admin: Client) -> None:
    beyond, user = Group.objects.create(name="platform"), person(VIEWERS)
    admin.post(change(user), posted(user, groups=[beyond.pk]))
    assert user.groups.get().name == VIEWERS
    user.groups.add(beyond)
    assert "platform" not in admin.get(change(user)).text.split("<form")[-1]
    admin.post(change(user), posted(user, groups=[Group.objects.get(name=EDITORS).pk]))
    assert sorted(user.groups.values_list("name", flat=True)) == [EDITORS, "platform"]


def test_a_superuser_sees_the_fields_beyond_roles(admin_page: Client) -> None:
    assert "Beyond roles" in admin_page.get(change(person(VIEWERS))).content.decode()


def test_the_list_needs_the_same_queries_for_any_number_of_users(admin: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(5):
        person(VIEWERS, f"user-{number}")
    with django_assert_max_num_queries(10):
        admin.get(LIST)
