"""Users in the admin. Admins create users, give them roles and deactivate them. Only superusers create or change superusers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join

from builds.lifecycle import NO_PERSONS
from builds.models import Identity
from builds.staff.roles import ROLES

if TYPE_CHECKING:
    AnyUserAdmin = UserAdmin[User]
    AnyAdmin = admin.ModelAdmin[Any]
    AnyInline = admin.TabularInline[Identity, User]
else:
    AnyUserAdmin = UserAdmin
    AnyAdmin = admin.ModelAdmin
    AnyInline = admin.TabularInline

admin.site.unregister(User)
admin.site.unregister(Group)


def of_a_person(name: str) -> None:
    if name.casefold() in NO_PERSONS:
        raise ValidationError("The history uses this name for desci-server or a part of Jobsite. Choose another one.")


class CheckBoxAdmin(AnyAdmin):
    """Uses check boxes for multiple choices: Django's two lists side by side can't be used with a screen reader."""

    filter_horizontal = ()

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        kwargs["widget"] = forms.CheckboxSelectMultiple()
        return super().formfield_for_manytomany(db_field, request, **kwargs)


class IdentityInline(AnyInline):
    """The account's user at the sign-in provider. After it is erased, another user with the same verified e-mail address can be linked."""

    model = Identity
    readonly_fields = ("issuer", "subject", "email", "linked_at")
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return request.user.has_perm("auth.view_user")

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        may_touch = obj is None or not obj.is_superuser or bool(request.user.is_superuser)
        return may_touch and request.user.has_perm("auth.change_user")

    def has_add_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False


@admin.register(User)
class StaffAdmin(CheckBoxAdmin, AnyUserAdmin):
    """Admins can give roles, but neither single permissions nor superuser status, to themselves or others."""

    list_display = ("username", "first_name", "last_name", "email", "roles", "is_active", "is_staff", "last_login")
    list_filter = ("groups", "is_active", "is_staff")
    show_full_result_count = False
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Role", {"fields": ("groups", "is_active", "is_staff")}),
        ("Times", {"fields": ("last_login", "date_joined")}),
    )
    superuser_fieldset: ClassVar[Any] = (
        "Beyond roles",
        {"fields": ("is_superuser", "user_permissions"), "classes": ("collapse",)},
    )
    add_fieldsets: Any = (
        (None, {"fields": ("username", "usable_password", "password1", "password2")}),
        ("Role", {"fields": ("groups", "is_staff")}),
    )
    readonly_fields = ("last_login", "date_joined")

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:
        """A new account has no identity yet."""
        return (IdentityInline,) if obj else ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description="roles")
    def roles(self, user: User) -> str:
        return format_html_join(", ", "{}", ((group.name,) for group in user.groups.all())) or "-"

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        if obj is None:
            return self.add_fieldsets
        if not self.has_change_permission(request, obj):  # without the password field
            return ((None, {"fields": ("username",)}), *self.fieldsets[1:])
        return (*self.fieldsets, self.superuser_fieldset) if request.user.is_superuser else self.fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """The user name can't be changed, because the history identifies people by it."""
        return (*self.readonly_fields, "username") if obj else self.readonly_fields

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def save_related(self, request: Any, form: Any, formsets: Any, change: bool) -> None:
        """Keep groups that are not roles: only superusers give or remove them."""
        others = [] if request.user.is_superuser else list(form.instance.groups.exclude(name__in=ROLES))
        super().save_related(request, form, formsets, change)
        form.instance.groups.add(*others)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Accounts are deactivated and never deleted, so that the history keeps its names."""
        return False

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        if db_field.name == "groups" and not request.user.is_superuser:
            kwargs["queryset"] = Group.objects.filter(name__in=ROLES)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name == "username":
            field.validators.append(of_a_person)
            field.help_text = f"{field.help_text} The history shows it, so it can't be changed later."
        if field is not None and db_field.name == "groups":
            field.label, field.help_text = (
                "Roles",
                "Viewers read; editors also retry, cancel and deliver; admins may do everything.",
            )
            field.widget.can_add_related = False
        if field is not None and db_field.name == "is_staff":
            field.label, field.help_text = (
                "May use the admin",
                "Every user with a role can use the desk. The admin needs this box too.",
            )
        return field


@admin.register(Group)
class RoleAdmin(CheckBoxAdmin, GroupAdmin):
    """The permissions of a role. Migrations set them; a superuser can change them in an emergency."""

    show_full_result_count = False
