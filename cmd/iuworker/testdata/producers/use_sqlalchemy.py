import sys
import uuid

from sqlalchemy import BigInteger, Column, FetchedValue, Text, create_engine, func, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.orm import Session, declarative_base

Base = declarative_base()

# SAMPLE

with Session(create_engine("postgresql+psycopg2://", future=True), future=True) as session:
    print(place_order(session, uuid.UUID(sys.argv[1])))
