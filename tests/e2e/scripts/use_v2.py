"""Uses the Python package `influxdb-client`, the client of InfluxDB 2, as far as the relay covers
its API: it is pinged. Its writes go to /api/v2/write, which the relay answers with a clear error.

usage: use_v2.py HOST PORT
"""

import sys

from influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException


def main():
    url = f"http://{sys.argv[1]}:{sys.argv[2]}"
    with InfluxDBClient(url=url, token="token", org="org", retries=False) as client:
        print(client.ping(), client.version())
        try:
            client.write_api(write_options=SYNCHRONOUS).write("bucket", "org", "m f=1 1")
        except ApiException as refused:
            print(refused.status)


main()
