"""Writes points with the Python package `influxdb`, the client of InfluxDB 1.x.

usage: write_v1.py http HOST PORT DATABASE
       write_v1.py gzip HOST PORT DATABASE
       write_v1.py udp HOST PORT
"""

import sys

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


def main():
    how, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if how == "udp":
        client = InfluxDBClient(host=host, use_udp=True, udp_port=port)
        # The client puts all points that it is given into one datagram.
        for start in range(0, len(POINTS), 10):
            assert client.write_points(POINTS[start : start + 10])
        return
    client = InfluxDBClient(
        host=host,
        port=port,
        username="writer",
        password="se cret&",
        database=sys.argv[4],
        gzip=how == "gzip",
        retries=1,
    )
    print(client.ping())
    assert client.write_points(POINTS, batch_size=30)


main()
