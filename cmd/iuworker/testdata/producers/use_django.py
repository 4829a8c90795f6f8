import os
import sys
import uuid

import django
from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import Func, Value

settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"], "USER": os.environ["PGUSER"],
    "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"],
}}, LOGGING_CONFIG=None)
django.setup()

# SAMPLE

print(place_order(uuid.UUID(sys.argv[1])))
