"""The record, users and sign-ins in Django's admin. Django imports this package, and its modules register their admins."""

from django.contrib import admin

from builds.admin import letters, operations, people, queue_store, record, sign_ins

__all__ = ["letters", "operations", "people", "queue_store", "record", "sign_ins"]

admin.site.site_header = admin.site.site_title = "Jobsite"
admin.site.index_title = "The record of all submissions"
admin.site.site_url = None
