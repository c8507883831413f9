from django.urls import path

from builds.api import docs, metrics, openapi, views

SUBMISSIONS = "v1/services/process-journal-submission"

urlpatterns = [
    path(SUBMISSIONS, views.SubmissionsView.as_view(), name="submissions"),
    path(f"{SUBMISSIONS}/<str:job_id>", views.SubmissionView.as_view(), name="submission"),
    path(f"{SUBMISSIONS}/<str:job_id>/cancel", views.CancelView.as_view(), name="cancel"),
    path(f"{SUBMISSIONS}/<str:job_id>/retry", views.RetryView.as_view(), name="retry"),
    path(f"{SUBMISSIONS}/<str:job_id>/log", views.LogView.as_view(), name="log"),
    path("v1/schema", openapi.SchemaView.as_view(), name="schema"),
    path("v1/docs", docs.docs, name="docs"),
    path("healthz", views.HealthView.as_view(), name="healthy"),
    path("metrics", metrics.metrics, name="metrics"),
    path("readyz", views.ReadyView.as_view(), name="ready"),
]
