from django.apps import AppConfig

from jobsite import telemetry


class BuildsConfig(AppConfig):
    name = "builds"
    verbose_name = "Build desk"

    def ready(self) -> None:
        from builds.queue import jobs  # noqa: PLC0415 - django-rq has models: it can be imported only when apps are loaded

        jobs.replace_stock_job_class()
        telemetry.start()
