from django.contrib.auth import views as auth
from django.urls import path
from django.views.generic import RedirectView

from builds.desk import overview, queue, submissions

app_name = "desk"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="desk:submissions"), name="home"),
    path("submissions/", submissions.submission_list, name="submissions"),
    path("submissions/<int:pk>/", submissions.submission_page, name="submission"),
    path("overview/", overview.overview, name="overview"),
    path("queue/", queue.queue_page, name="queue"),
    path("queue/pause/", queue.pause, name="queue-pause"),
    path("queue/drain/", queue.drain, name="queue-drain"),
    path("queue/resume/", queue.resume, name="queue-resume"),
    path("sign-in/", auth.LoginView.as_view(redirect_authenticated_user=True), name="sign-in"),
    path("sign-out/", auth.LogoutView.as_view(), name="sign-out"),
]
