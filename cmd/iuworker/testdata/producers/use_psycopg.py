import sys

import psycopg

# SAMPLE

with psycopg.connect() as conn:
    place_order(conn, sys.argv[1])
    with conn.transaction():
        print(conn.execute("SELECT lastval()").fetchone()[0])
