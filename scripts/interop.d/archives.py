"""Small files of torch.save, and many ways to damage one. Everything is drawn from a numbered random source, so that a
file can be made again from its number."""

import io
import random
import struct
import zipfile

import torch

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.uint16)


def tensor(draw):
    shape = [draw.randrange(0, 4) for _ in range(draw.randrange(0, 4))]
    bits = torch.tensor([draw.randrange(256) for _ in range(8)], dtype=torch.uint8)
    value = bits.repeat(16).view(torch.int64)[:1].repeat(64)
    dtype = draw.choice(DTYPES)
    value = (value.view(torch.uint8) & 1).view(torch.bool) if dtype == torch.bool else value.view(dtype)
    count = 1
    for size in shape:
        count *= size
    start = draw.randrange(0, 8)
    made = value[start : start + count]
    # Half of them keep their place in a larger storage, as views do.
    made = (made.clone() if draw.random() < 0.5 else made).reshape(shape)
    return made.transpose(0, -1) if made.dim() > 1 and draw.random() < 0.3 else made


def state(draw):
    """A state dict with one or two tensors, perhaps nested, perhaps sharing a storage, perhaps among other things."""
    table = {f"layer.{place}.weight": tensor(draw) for place in range(draw.randrange(1, 4))}
    if draw.random() < 0.3:
        table["tied"] = next(iter(table.values()))
    if draw.random() < 0.3:
        table["parameter"] = torch.nn.Parameter(torch.ones(2))
    if draw.random() < 0.3:
        table = {"model": table, "epoch": draw.randrange(1 << 40), "rate": 1e-3, "name": "größe", "done": None, "rest": [True, (1, 2)]}
    return table


def saved(draw):
    """What torch saves of such a state dict."""
    out = io.BytesIO()
    torch.save(state(draw), out, pickle_protocol=draw.choice((2, 2, 2, 3, 4)))
    return out.getvalue()


def repacked(draw, data, change):
    """The archive written again by zipfile, with `change` applied to its list of [name, content, method]."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [[info.filename, archive.read(info), zipfile.ZIP_STORED] for info in archive.infolist()]
    change(members)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content, method in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=draw.random() < 0.1) as member:
                member.write(content)
        if draw.random() < 0.1:
            archive.comment = b"a comment"
    return out.getvalue()


def a_member(draw, members, part=""):
    return draw.choice([member for member in members if part in member[0]])


def packed_again(draw, data):
    return repacked(draw, data, lambda members: None)


def member_dropped(draw, data):
    return repacked(draw, data, lambda members: members.remove(a_member(draw, members)))


def member_twice(draw, data):
    return repacked(draw, data, lambda members: members.insert(draw.randrange(len(members)), list(a_member(draw, members))))


def members_shuffled(draw, data):
    return repacked(draw, data, draw.shuffle)


def member_deflated(draw, data):
    def change(members):
        for member in members if draw.random() < 0.3 else [a_member(draw, members)]:
            member[2] = zipfile.ZIP_DEFLATED

    return repacked(draw, data, change)


def member_renamed(draw, data):
    def change(members):
        member = a_member(draw, members)
        member[0] = draw.choice((member[0] + "x", member[0].upper(), "other/" + member[0], member[0].split("/")[-1], "../" + member[0]))

    return repacked(draw, data, change)


def member_added(draw, data):
    def change(members):
        name = draw.choice(("archive/extra", "archive/data/99", "note.txt", "archive/code/x.py", "/absolute", "ü/ñ"))
        content = bytes(draw.randrange(256) for _ in range(draw.randrange(40)))
        members.insert(draw.randrange(len(members) + 1), [name, content, draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))])

    return repacked(draw, data, change)


def content_changed(draw, data):
    """Another content with its own right checksum: what only the reader of the records can notice."""

    def change(members):
        member = a_member(draw, members, draw.choice(("data.pkl", "data.pkl", "data/", "version", "byteorder")))
        member[1] = draw.choice((flipped, cut, doubled, inserted))(draw, member[1])

    return repacked(draw, data, change)


def flipped(draw, data):
    if not data:
        return data
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ draw.choice((1, 2, 0x20, 0x80, 0xFF))]) + data[place + 1 :]


def cut(draw, data):
    return data[: draw.randrange(len(data) + 1)]


def doubled(draw, data):
    """A stretch is there twice."""
    start = draw.randrange(len(data) + 1)
    return data[: start + draw.randrange(64)] + data[start:]


def inserted(draw, data):
    place = draw.randrange(len(data) + 1)
    return data[:place] + bytes(draw.randrange(256) for _ in range(draw.randrange(1, 5))) + data[place:]


def zeroed(draw, data):
    start = draw.randrange(len(data))
    end = min(len(data), start + draw.randrange(1, 65))
    return data[:start] + bytes(end - start) + data[end:]


def lengthened(draw, data):
    return data + bytes(draw.randrange(1, 70))


def shifted(draw, data):
    return b"#!shell\n"[: draw.randrange(1, 9)] + data


# Fields of a local header and of a directory entry, by offset and size (APPNOTE.TXT 4.3.7 and 4.3.12).
LOCAL = {"flags": (6, 2), "method": (8, 2), "crc": (14, 4), "packed": (18, 4), "size": (22, 4), "name": (26, 2), "extra": (28, 2)}
ENTRY = {"flags": (8, 2), "method": (10, 2), "crc": (16, 4), "packed": (20, 4), "size": (24, 4), "name": (28, 2), "extra": (30, 2), "comment": (32, 2), "header": (42, 4)}
END = {"here": (8, 2), "members": (10, 2), "bytes": (12, 4), "start": (16, 4), "comment": (20, 2)}


def field_changed(draw, data):
    """One number of one header, of the local ones, the directory, or the end."""
    data = bytearray(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        headers = [info.header_offset for info in archive.infolist()]
    entries, place = [], data.find(b"PK\x01\x02")
    while place >= 0:
        entries.append(place)
        place = data.find(b"PK\x01\x02", place + 46)
    kind, places = draw.choice(((LOCAL, headers), (ENTRY, entries), (ENTRY, entries), (END, [data.rfind(b"PK\x05\x06")])))
    base, (offset, size) = draw.choice(places), draw.choice(sorted(kind.values()))
    at = slice(base + offset, base + offset + size)
    old = int.from_bytes(data[at], "little")
    new = draw.choice((0, old + 1, old - 1, old * 2, old ^ 8, old ^ 1, 1 << (8 * size - 1), (1 << 8 * size) - 1))
    data[at] = (new % (1 << 8 * size)).to_bytes(size, "little")
    return bytes(data)


def record_changed(draw, data):
    """A byte inside a member, and nothing that knows of it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        info = draw.choice([info for info in archive.infolist() if info.file_size])
    lengths = struct.unpack_from("<HH", data, info.header_offset + 26)
    start = info.header_offset + 30 + sum(lengths)
    return data[:start] + flipped(draw, data[start : start + info.file_size]) + data[start + info.file_size :]


DAMAGES = (
    flipped, cut, doubled, inserted, zeroed, lengthened, shifted, field_changed, field_changed, field_changed, record_changed,
    packed_again, member_dropped, member_twice, members_shuffled, member_deflated, member_renamed, member_added,
    content_changed, content_changed, content_changed,
)  # fmt: skip


def damaged(number):
    """The name of a damage and a file with it, always the same for a number."""
    draw = random.Random(number)
    whole = saved(draw)
    damage = DAMAGES[number % len(DAMAGES)]
    data = damage(draw, whole)
    # One in eight is damaged twice over.
    if draw.random() < 0.125:
        data = draw.choice((flipped, zeroed, cut))(draw, data) if data else data
    return damage.__name__, data


