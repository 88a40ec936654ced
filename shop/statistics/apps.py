"""The Django app of the statistics. Its label is in the names of its tables and permissions, so it stays `figures`."""

from django.apps import AppConfig


class Statistics(AppConfig):
    """The app of the statistics of each day."""

    name = "shop.statistics"
    label = "figures"
