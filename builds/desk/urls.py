from django.urls import path
from django.views.generic import RedirectView

from builds.desk import acts, exports, log, overview, queue, settings_page, sign_in, single_sign_on, submission, submissions

app_name = "desk"

ATTEMPT = "submissions/<int:pk>/attempts/<int:number>"
EXPORT = f"{ATTEMPT}/exports/<int:position>"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="desk:submissions"), name="home"),
    path("submissions/", submissions.submission_list, name="submissions"),
    path("submissions/live/", submissions.live, name="submissions-live"),
    path("submissions/csv/", submissions.export, name="submissions-csv"),
    path("submissions/act/", acts.act_on_many, name="act"),
    path("submissions/<int:pk>/", submission.submission_page, name="submission"),
    path("submissions/<int:pk>/live/", submission.live, name="submission-live"),
    path("submissions/<int:pk>/act/<str:name>/", acts.act_on_one, name="act-on-one"),
    path(f"{EXPORT}/", exports.download, name="export"),
    path(f"{EXPORT}/raw/", exports.raw, name="export-raw"),
    path(f"{EXPORT}/preview/", exports.preview_page, name="export-preview"),
    path(f"{ATTEMPT}/log/", log.log_page, name="log"),
    path(f"{ATTEMPT}/log/lines/", log.lines, name="log-lines"),
    path(f"{ATTEMPT}/log/search/", log.search, name="log-search"),
    path(f"{ATTEMPT}/log/go/", log.go, name="log-go"),
    path(f"{ATTEMPT}/log.txt", log.text, name="log-text"),
    path("overview/", overview.overview, name="overview"),
    path("settings/", settings_page.settings_page, name="settings"),
    path("queue/", queue.queue_page, name="queue"),
    path("queue/pause/", queue.pause, name="queue-pause"),
    path("queue/drain/", queue.drain, name="queue-drain"),
    path("queue/resume/", queue.resume, name="queue-resume"),
    path("sign-in/oidc/", single_sign_on.begin, name="oidc"),
    path("sign-in/oidc/callback/", single_sign_on.callback, name="oidc-callback"),
    path("sign-in/", sign_in.SignInView.as_view(), name="sign-in"),
    path("account/password/", sign_in.PasswordView.as_view(), name="password"),
    path("sign-out/", sign_in.SignOutView.as_view(), name="sign-out"),
]
