"""Addresses of media: one form for each, nothing hidden in them, and no secret of them shown."""

import pytest

from pipelines.media.addresses import (
    AddressRefused,
    LocalFile,
    StoredObject,
    WebAddress,
    is_local,
    last_name,
    parse_address,
    read_address,
    shown,
    trusted,
)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("HTTP://Example.ORG", "http://example.org"),
        ("hTTpS://Example.org:443/A?b=C#d", "https://example.org/A?b=C"),
        ("http://example.org:8080?q", "http://example.org:8080/?q"),
        ("http://example.org./a b/ü.mp4", "http://example.org/a%20b/%C3%BC.mp4"),
        ("http://münchen.example/a", "http://xn--mnchen-3ya.example/a"),
        ("http://127。0。0。1/", "http://127.0.0.1/"),
        ("http://\uff11\uff12\uff17.0.0.1/", "http://127.0.0.1/"),
        ("http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/", "http://localhost/"),
        ("http://[0:0::FFFF:10.0.0.1]:80/a", "http://[::ffff:a00:1]/a"),
        ("http://example.org/a%2e%2e/b", "http://example.org/a%2e%2e/b"),
    ],
)
def test_a_web_address_has_one_form(text: str, form: str) -> None:
    address = parse_address(text)
    assert isinstance(address, WebAddress)
    assert address.to_text() == form
    assert parse_address(form) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "http:///a",
        "http://:80/",
        "ftp://example.org/",
        "gopher://example.org/",
        "http://exa mple.org/",
        "http://example.org\\@127.0.0.1/",
        "http:\\\\127.0.0.1/",
        "http://public.example@other@127.0.0.1/",
        "http://example.org:0/",
        "http://example.org:99999/",
        "http://example.org:8o/",
        "http://example.org:\u0661/",
        "http://[::1/",
        "http://[fe80::1%eth0]/",
        "http://[fe80::1%25eth0]/",
        "http://[::1]evil/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://0x7f.0.0.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://127.0.0.1.0x7f/",
        "http://%31%32%37.0.0.1/",
        "http://exam%70le.org/",
        "http://a..b/",
        "http://-/",
        "http://" + "a" * 64 + ".org/",
        "http://" + "a.b" * 100 + ".org/",
        "http://example.org/\r\nHost: other",
        "http://example.org/\x00",
        "\x00/a",
        "file://elsewhere/a.mp4",
        "file:///a%00b.mp4",
        "file:///a%0ab.mp4",
        "s3://",
        "s3://b@/k",
        "s3://bu cket/k",
    ],
)
def test_what_is_written_to_deceive_is_refused(text: str) -> None:
    if text.startswith("http:\\"):
        assert parse_address(text) == LocalFile(text)  # a relative path, which nobody may name
        return
    with pytest.raises(AddressRefused) as refused:
        parse_address(text)
    assert "127.0.0.1" not in str(refused.value)


def test_a_stranger_cannot_say_that_an_address_is_trusted() -> None:
    text = trusted("http://10.0.0.1/a")
    assert (read_address(text), parse_address(text)) == (
        WebAddress("http", "10.0.0.1", 80, "/a", trusted=True),
        WebAddress("http", "10.0.0.1", 80, "/a"),
    )
    assert read_address(parse_address(text).to_text()) == parse_address(text)
    assert trusted("/a.mp4") == "/a.mp4"


def test_files_and_objects() -> None:
    assert parse_address("FILE:///a%20b.mp4") == parse_address("file://localhost/a%20b.mp4") == LocalFile("/a b.mp4")
    assert parse_address("S3://bucket/a/b.mp4") == StoredObject("bucket", "a/b.mp4")
    assert (is_local("clip.mp4"), is_local("HTTP://x.org/a"), is_local("file:///a"), is_local("x://y")) == (
        True,
        False,
        True,
        False,
    )


@pytest.mark.parametrize(
    "secret",
    [
        "https://user:SECRET@host.example/a/b.mp4",
        "HTTPS://SECRET@host.example/a/b.mp4",
        "https://host.example/a/b.mp4?X-Amz-Signature=SECRET&X-Amz-Credential=SECRET",
        "https://host.example/a/b.mp4?sv=1&sig=SECRET",
        "https://host.example/a/b.mp4?access_token=SECRET",
        "https://host.example/a/b.mp4?e=1&h=SECRETSECRETSECRETSECRET",
        "https://host.example/a/b.mp4?SECRETSECRETSECRETSECRET",
        "https://host.example/a/b.mp4#SECRET",
        "s3://SECRET:SECRET@bucket/a/b.mp4?endpoint_override=SECRET",
        "ftp://user:SECRET@host.example/a/b.mp4?SECRET",
    ],
)
def test_no_secret_of_an_address_is_shown(secret: str) -> None:
    assert "SECRET" not in shown(secret)
    assert last_name(secret) == "b.mp4"


def test_what_is_no_secret_is_shown() -> None:
    for plain in ("https://host.example/watch?v=abc123&t=4", "/a/b?c.mp4", "clip.mp4", "s3://bucket/a.mp4"):
        assert shown(plain) == plain
