"""Writers of AEDAT 2.0 and 3.1, which follow iniVation's specification and jAER's source."""

import struct

JAER = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# Timestamps tick is 1 us\r\n"
DVS128 = JAER + b"# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"
DAVIS346 = JAER + b"# AEChip: eu.seebetter.ini.chips.davis.Davis346B\r\n"
CAER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: 2016-05-12 15:18:26 (TZ+0200)\r\n#!END-HEADER\r\n"


def aedat2_record(address, stamp):
    return struct.pack(">II", address, stamp % (1 << 32))


def dvs128_record(t, x, y, p):
    """jAER counts columns from the right and rows from the bottom; bit 0 is set where the pixel became darker."""
    return aedat2_record((127 - y) << 8 | (127 - x) << 1 | (1 - p), t)


def davis_record(t, x, y, p, size=(346, 260)):
    return aedat2_record((size[1] - 1 - y) << 22 | (size[0] - 1 - x) << 12 | p << 11, t)


def caer_packet(records, kind=1, source=1, overflows=0, capacity=None, event_bytes=8):
    """A packet of events (t, x, y, p) and whether they are valid, or of bytes."""
    if isinstance(records, bytes):
        content, number, valid = records, len(records) // event_bytes, len(records) // event_bytes
    else:
        content = b"".join(
            struct.pack("<Ii", x << 17 | y << 2 | p << 1 | ok, t % (1 << 31)) for (t, x, y, p), ok in records
        )
        number, valid = len(records), sum(ok for _, ok in records)
    room = number if capacity is None else capacity
    content += bytes((room - number) * event_bytes)
    return struct.pack("<hhiiiiii", kind, source, event_bytes, 4, overflows, room, number, valid) + content


def valid_packet(events, **options):
    return caer_packet([(event, 1) for event in events], **options)
