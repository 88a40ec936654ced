"""The reference shop: a Django project that uses the installed package `lapse` as any shop would."""
