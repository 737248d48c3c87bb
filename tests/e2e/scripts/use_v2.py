"""Writes with the Python package `influxdb-client`, the client of InfluxDB 2: 200 points, half of
them packed, and then a line that is none. Prints what it was pinged, and how the line was refused.

usage: use_v2.py HOST PORT BUCKET [CA_FILE]

With CA_FILE it goes by HTTPS, and prints "not trusted" for a relay that CA_FILE does not vouch for.
"""

import json
import sys

from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

START_NS = 1_700_000_000_000_000_000


def point(n):
    return (
        Point("rooms, all")
        .tag("room", "living room")
        .field("celsius", 21.5)
        .field("people", n)
        .time(START_NS + n * 1_000_000, WritePrecision.NS)
    )


def main():
    bucket, ca_file = sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else None
    scheme = "https" if ca_file else "http"
    url = f"{scheme}://{sys.argv[1]}:{sys.argv[2]}"
    for packed, points in ((False, range(100)), (True, range(100, 200))):
        options = {"url": url, "token": "me:secret", "org": "theirs", "retries": False}
        options["ssl_ca_cert"] = ca_file
        with InfluxDBClient(enable_gzip=packed, **options) as client:
            write_api = client.write_api(write_options=SYNCHRONOUS)
            write_api.write(bucket, record=[point(n) for n in points])
            if packed:
                print(client.ping(), client.version())
                try:
                    write_api.write(bucket, record="m f=1 1\nm f=")
                except ApiException as refused:
                    said = json.loads(refused.body)
                    print(refused.status, said["code"], said["line"], said["message"])


try:
    main()
except ApiException as failed:
    if "CERTIFICATE_VERIFY_FAILED" not in str(failed):
        raise
    print("not trusted")
