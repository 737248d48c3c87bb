"""Writes points with the Python package `influxdb`, the client of InfluxDB 1.x.

usage: write_v1.py http HOST PORT DATABASE
       write_v1.py gzip HOST PORT DATABASE
       write_v1.py https HOST PORT DATABASE CA_FILE
       write_v1.py udp HOST PORT

By HTTPS half of the points are packed by gzip, and a relay that CA_FILE does not vouch for is
printed as "not trusted".
"""

import sys

import requests
from influxdb import InfluxDBClient

POINTS = [
    {
        "measurement": "rooms, all",
        "tags": {"room": "living room", "floor": "2=upper"},
        "fields": {"celsius": 21.5, "people": 3, "open": True, "note": 'say "hi",\nthen go'},
        "time": 1_700_000_000_000_000_000 + n,
    }
    for n in range(200)
]


def write(points, host, port, database, **options):
    client = InfluxDBClient(
        host=host,
        port=port,
        username="writer",
        password="se cret&",
        database=database,
        retries=1,
        **options,
    )
    print(client.ping())
    assert client.write_points(points, batch_size=30)


def main():
    how, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if how == "udp":
        client = InfluxDBClient(host=host, use_udp=True, udp_port=port)
        # The client puts all points that it is given into one datagram.
        for start in range(0, len(POINTS), 10):
            assert client.write_points(POINTS[start : start + 10])
    elif how == "https":
        options = {"ssl": True, "verify_ssl": sys.argv[5]}
        try:
            write(POINTS[:100], host, port, sys.argv[4], **options)
            write(POINTS[100:], host, port, sys.argv[4], gzip=True, **options)
        except requests.exceptions.SSLError:
            print("not trusted")
    else:
        write(POINTS, host, port, sys.argv[4], gzip=how == "gzip")


main()
