"""The addresses of the desk."""

from django.urls import path
from django.views.generic import RedirectView

from builds.desk.exports.views import export_figure, export_file, export_preview, export_raw
from builds.desk.failures.views import failure_group, failure_list
from builds.desk.letters.views import read_letter, write_letter
from builds.desk.log.views import follow_log, go_to_line, log_lines, log_page, log_text, search_log
from builds.desk.overview.views import overview
from builds.desk.people.sign_in import NewPasswordView, PasswordView, ResetSentView, ResetView, SignInView, SignOutView
from builds.desk.people.single_sign_on import finish_single_sign_on, start_single_sign_on
from builds.desk.queue.views import drain_queue, pause_queue, queue_page, resume_queue
from builds.desk.reading.compare import compare_attempts
from builds.desk.reading.views import read_article
from builds.desk.settings_page import settings_page
from builds.desk.submissions.actions import act_on_many, act_on_one
from builds.desk.submissions.detail import submission_history, submission_live, submission_page
from builds.desk.submissions.listing import submission_csv, submission_list, submission_list_live
from builds.desk.submissions.views import remove_view, save_view

app_name = "desk"

ATTEMPT = "submissions/<int:pk>/attempts/<int:number>"
EXPORT = f"{ATTEMPT}/exports/<int:position>"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="desk:submissions"), name="home"),
    path("submissions/", submission_list, name="submissions"),
    path("submissions/live/", submission_list_live, name="submissions-live"),
    path("submissions/csv/", submission_csv, name="submissions-csv"),
    path("submissions/views/", save_view, name="save-view"),
    path("submissions/views/<int:pk>/remove/", remove_view, name="remove-view"),
    path("submissions/act/", act_on_many, name="act"),
    path("submissions/<int:pk>/", submission_page, name="submission"),
    path("submissions/<int:pk>/live/", submission_live, name="submission-live"),
    path("submissions/<int:pk>/history.json", submission_history, name="submission-history"),
    path("submissions/<int:pk>/act/<str:name>/", act_on_one, name="act-on-one"),
    path("submissions/<int:pk>/compare/", compare_attempts, name="compare"),
    path("submissions/<int:pk>/letter/", write_letter, name="write-letter"),
    path("submissions/<int:pk>/letters/<int:event>/", read_letter, name="letter"),
    path(f"{EXPORT}/", export_file, name="export"),
    path(f"{EXPORT}/raw/", export_raw, name="export-raw"),
    path(f"{EXPORT}/article/", read_article, name="article"),
    path(f"{EXPORT}/figure/", export_figure, name="export-figure"),
    path(f"{EXPORT}/preview/", export_preview, name="export-preview"),
    path(f"{ATTEMPT}/log/", log_page, name="log"),
    path(f"{ATTEMPT}/log/lines/", log_lines, name="log-lines"),
    path(f"{ATTEMPT}/log/follow/", follow_log, name="log-follow"),
    path(f"{ATTEMPT}/log/search/", search_log, name="log-search"),
    path(f"{ATTEMPT}/log/go/", go_to_line, name="log-go"),
    path(f"{ATTEMPT}/log.txt", log_text, name="log-text"),
    path("failures/", failure_list, name="failures"),
    path("failures/<slug:fingerprint>/", failure_group, name="failure-group"),
    path("overview/", overview, name="overview"),
    path("settings/", settings_page, name="settings"),
    path("queue/", queue_page, name="queue"),
    path("queue/pause/", pause_queue, name="queue-pause"),
    path("queue/drain/", drain_queue, name="queue-drain"),
    path("queue/resume/", resume_queue, name="queue-resume"),
    path("sign-in/oidc/", start_single_sign_on, name="oidc"),
    path("sign-in/oidc/callback/", finish_single_sign_on, name="oidc-callback"),
    path("sign-in/", SignInView.as_view(), name="sign-in"),
    path("sign-in/reset/", ResetView.as_view(), name="reset"),
    path("sign-in/reset/sent/", ResetSentView.as_view(), name="reset-sent"),
    path("sign-in/reset/<uidb64>/<token>/", NewPasswordView.as_view(), name="new-password"),
    path("account/password/", PasswordView.as_view(), name="password"),
    path("sign-out/", SignOutView.as_view(), name="sign-out"),
]
