"""A django-oscar shop without a fork of any of its applications, whose unpaid orders lapse."""
