"""Users in the admin. Admins make them, give them roles and close their accounts; only a superuser makes or touches superusers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join

if TYPE_CHECKING:
    AnyUserAdmin = UserAdmin[User]
else:
    AnyUserAdmin = UserAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class StaffAdmin(AnyUserAdmin):
    """An admin can't give itself, or anybody, more rights than the roles have: single permissions and superusers are not theirs."""

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
    filter_horizontal = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description="roles")
    def roles(self, user: User) -> str:
        return format_html_join(", ", "{}", ((group.name,) for group in user.groups.all())) or "-"

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        if obj is None:
            return self.add_fieldsets
        return (*self.fieldsets, self.superuser_fieldset) if request.user.is_superuser else self.fieldsets

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Who has acted stays known: an account is closed (not active), never deleted."""
        return False

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        # Django's two lists side by side can't be used with a screen reader.
        kwargs["widget"] = forms.CheckboxSelectMultiple()
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name == "groups":
            field.label, field.help_text = "Roles", "Viewers see all; editors also retry, cancel and deliver; admins do all."
            field.widget.can_add_related = False
        if field is not None and db_field.name == "is_staff":
            field.label, field.help_text = (
                "May use the admin",
                "The desk is for everybody with a role; this part for those ticked.",
            )
        return field


@admin.register(Group)
class RoleAdmin(GroupAdmin):
    """Which rights a role has. Changed by migrations, and in a pinch by a superuser."""

    show_full_result_count = False
    filter_horizontal = ()

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest | None = None, **kwargs: Any) -> Any:
        kwargs["widget"] = forms.CheckboxSelectMultiple()
        return super().formfield_for_manytomany(db_field, request, **kwargs)
