"""The settings page for admins: value, source and meaning of each setting. Secrets are shown only as set or not set."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from builds.desk.access import StaffRequest, desk_page
from builds.desk.formatting import in_code
from builds.lib import units
from jobsite import env
from jobsite.described import GROUPS, Setting

SETTINGS = "builds.view_settings"
# The values of settings with such names are never shown, whatever their description says.
SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|_KEY$|_DSN$")
# The user name and password before an address's host, and the options behind it, which can contain a password too.
CREDENTIALS = re.compile(r"(?<=://)\S*@")
ADDRESS_OPTIONS = re.compile(r"(://[^\s?#]*)[?#]\S*")
NOT_LISTED = "not described yet"


@dataclass(frozen=True)
class Line:
    """A setting as the page shows it."""

    setting: Setting
    read: env.Read

    @property
    def is_secret(self) -> bool:
        return self.setting.secret or self.setting.means == NOT_LISTED or bool(SECRET.search(self.setting.name))

    @property
    def value(self) -> SafeString:
        if self.is_secret:
            return SafeString("set" if self.read.value else "not set")
        if self.setting.default and not self.read.value:
            return in_code(self.setting.default)
        shown = ADDRESS_OPTIONS.sub(r"\1?…", CREDENTIALS.sub("", self.read.value))
        shown = shown if " " in shown else shown.replace(",", ", ")
        return format_html("<code>{}</code>", shown) if shown else SafeString("not set")

    @property
    def in_words(self) -> str:
        """The value with a readable unit. Empty if it has none."""
        text, unit = self.read.value.strip(), self.setting.unit
        if not unit or not text.isdecimal():
            return ""
        spoken = {"bytes": units.size, "seconds": units.duration}.get(unit)
        return spoken(int(text)) if spoken else unit.removesuffix("s") if text == "1" else unit

    @property
    def source(self) -> SafeString:
        if self.read.file:
            return format_html("the file <code>{}</code>", self.read.file)
        return SafeString("the environment" if self.read.is_set else "the default")

    @property
    def means(self) -> SafeString:
        return in_code(self.setting.means)

    @property
    def default(self) -> SafeString:
        return in_code(self.setting.default_words)


def group_lines() -> dict[str, list[Line]]:
    """All settings that were read, by group. Those without a description come last and count as secrets."""
    lines = {
        name: [Line(setting, env.READ[setting.name]) for setting in settings if setting.name in env.READ]
        for name, settings in GROUPS.items()
    }
    described = {setting.name for settings in GROUPS.values() for setting in settings}
    rest = [Line(Setting(name, NOT_LISTED), read) for name, read in env.READ.items() if name not in described]
    return {**lines, "Other settings": rest} if rest else lines


@require_safe
@desk_page(SETTINGS)
def settings_page(request: StaffRequest) -> HttpResponse:
    return render(request, "desk/settings.html", {"groups": group_lines().items()})
