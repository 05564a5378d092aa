#!/usr/bin/env python3
# Makes the vectors of tests/data/signatures: deliveries signed by the vendors' libraries, each with ways to tamper with it,
# and has the libraries judge deliveries that smshook signed. A vector is kept only where the libraries agree with what it
# says: every library that can verify accepts a valid one and refuses an invalid one, or the vector says in `note` why
# smshook is stricter. Everything is fixed (keys, times, ids), so that the same versions make the same files.
#
# It must not sign where a library of the vendor can, and must not read smshook's own verdict: that is the test's business.

import argparse
import base64
import copy
import hashlib
import json
import os
import subprocess
import sys
import urllib.parse
from importlib import metadata
from pathlib import Path

import libraries

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent / "data" / "signatures"

URL = "https://sms.example.com/hooks/sms"
AT = 1_780_000_000  # 2026-05-28T20:26:40Z
# Everything that forms, JSON and sorting can get wrong.
TEXT = 'Tom & Jerry = 100% + "50\'s" \\ <b> Grüße, 你好 😀 ~'
ARABIC = "مرحبا\nשלום\ttab"
SECRET = "not-a-real-secret-1f9a"
OTHER_SECRET = "not-a-real-secret-2c7e"


class Node:
    """The process that runs libraries.mjs."""

    def __init__(self, install):
        self.folder = install / "js"
        script = self.folder / "libraries.mjs"
        self.process = subprocess.Popen(
            ["node", "--no-warnings", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=self.folder
        )

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        reply = json.loads(self.process.stdout.readline() or '{"failed": "libraries.mjs has ended"}')
        if "failed" in reply:
            sys.exit(f"libraries.mjs: {reply['failed']}")
        return reply["answer"]

    def sign(self, library, **order):
        return self.ask(do="sign", library=library, order=order)

    def version(self, package):
        return json.loads((self.folder / "node_modules" / package / "package.json").read_text())["version"]


def judge(node, library, delivery):
    """Whether a library ("npm NAME" or "PyPI NAME") accepts a delivery at the time that it names."""
    side, _, name = library.partition(" ")
    if side == "npm":
        return node.ask(do="verify", library=name, delivery=delivery)
    return libraries.verify(name, delivery)


def made_with(node, names):
    """Names with their versions: "npm twilio" becomes "npm twilio 6.2.0"."""
    said = []
    for name in names:
        side, _, package = name.partition(" ")
        package = package.removesuffix(" V3")
        if package == "formula":
            version = "the formula of the gateway's documentation, written twice: node crypto and python hmac"
            said.append(version)
        elif side == "npm":
            said.append(f"npm {package} {node.version(package)}")
        elif side == "PyPI":
            said.append(f"PyPI {package} {metadata.version(package)}")
    return list(dict.fromkeys(said))


class Fixture:
    """One file of vectors in the making."""

    def __init__(self, node, gateway, verifiers, signers=(), **defaults):
        self.node = node
        self.gateway = gateway
        self.verifiers = verifiers
        self.made_with = made_with(node, [*signers, *verifiers])
        self.defaults = defaults
        self.vectors = []
        self.problems = []

    def uses(self, *names):
        self.made_with = list(dict.fromkeys(self.made_with + made_with(self.node, names)))

    def delivery(self, **given):
        plain = {"method": "POST", "url": URL, "query": None, "headers": {}, "body": b"", "algorithm": None, "at": AT}
        made = {**plain, "secret": SECRET, "verifiers": self.verifiers, "gateway": self.gateway, **self.defaults, **given}
        if isinstance(made["body"], str):
            made["body"] = made["body"].encode()
        return made

    def keep(self, name, delivery, valid, stricter=None, note=None):
        """Adds a vector if the libraries agree. `stricter` says why smshook refuses what some library accepts."""
        asked = {**delivery, "body_base64": base64.b64encode(delivery["body"]).decode()}
        asked.pop("body")
        verdicts = {library: judge(self.node, library, asked) for library in delivery["verifiers"]}
        agree = all(verdict == valid for verdict in verdicts.values())
        label = f"{self.gateway}: {name}"
        if not verdicts:
            self.problems.append(f"{label}: no library judges it")
        if not agree and stricter is None:
            self.problems.append(f"{label}: should be {'valid' if valid else 'invalid'}, but {verdicts}")
        if agree and stricter is not None:
            self.problems.append(f"{label}: is said to be stricter than the libraries, which refuse it too: {verdicts}")
        if any(vector["name"] == name for vector in self.vectors):
            self.problems.append(f"{label}: the name is taken")
        if stricter is not None:
            accepting = ", ".join(made_with(self.node, [library for library, verdict in verdicts.items() if verdict]))
            note = f"Accepted by {accepting}. {stricter}"
        self.vectors.append(written(name, delivery, valid, note))

    def valid(self, name, delivery, note=None):
        self.keep(name, delivery, True, note=note)
        return delivery

    def invalid(self, name, delivery, stricter=None, note=None):
        self.keep(name, delivery, False, stricter=stricter, note=note)

    def tampered(self, name, delivery, header, url=True, body=True, time=None, stricter=None):
        """The usual attacks on a valid delivery. `url` and `body`: whether they are bound; `time`: seconds of tolerance."""
        stricter = stricter or {}

        def attack(how, changed):
            self.invalid(f"{name}, {how}", changed, stricter.get(how))

        signature = delivery["headers"][header]
        attack("with a digit of the signature changed", with_header(delivery, header, other_digit(signature)))
        attack("with the signature cut short", with_header(delivery, header, signature[:-4]))
        attack("with nothing but the header's name", with_header(delivery, header, ""))
        attack("without its signature", without_header(delivery, header))
        attack("checked with another secret", {**delivery, "secret": delivery.get("other_secret", OTHER_SECRET)})
        if body:
            attack("with a byte of the body changed", {**delivery, "body": other_byte(delivery["body"])})
            attack("with a blank after the body", {**delivery, "body": delivery["body"] + b" "})
        if url:
            attack("sent to another path", {**delivery, "url": delivery["url"].replace("/hooks/", "/h0oks/")})
            attack("sent to another host", {**delivery, "url": delivery["url"].replace("sms.", "www.")})
        if time:
            self.valid(f"{name}, {time} seconds late", {**delivery, "at": delivery["at"] + time})
            attack(f"{time + 1} seconds late", {**delivery, "at": delivery["at"] + time + 1})
            attack(f"{time + 1} seconds early", {**delivery, "at": delivery["at"] - time - 1})


def written(name, delivery, valid, note):
    """A vector as it stands in the file, its keys in the order that one reads."""
    vector = {"name": name}
    if "like" in delivery:
        vector["like"] = delivery["like"]
    else:
        vector["gateway"] = delivery["gateway"]
    for key in ("method", "url", "query", "headers"):
        vector[key] = delivery[key]
    try:
        vector["body"] = delivery["body"].decode("utf-8")
    except UnicodeDecodeError:
        vector["body_base64"] = base64.b64encode(delivery["body"]).decode()
    for key in ("secret", "algorithm", "at"):
        vector[key] = delivery[key]
    vector["valid"] = valid
    if note is not None:
        vector["note"] = note
    return vector


def with_header(delivery, name, value):
    return {**delivery, "headers": {**delivery["headers"], name: value}}


def without_header(delivery, name):
    return {**delivery, "headers": {other: value for other, value in delivery["headers"].items() if other != name}}


def other_byte(body):
    """The body with one letter or digit near its middle changed, so that JSON stays JSON and a form stays a form."""
    for place in sorted(range(len(body)), key=lambda place: abs(place - len(body) // 2)):
        if chr(body[place]).isascii() and chr(body[place]).isalnum():
            return body[:place] + (b"x" if body[place] != ord("x") else b"y") + body[place + 1:]
    return body + b"x"


def other_digit(signature):
    """The signature with a digit of it changed that carries six (base64) or four (hex) signed bits."""
    place = len(signature) - 8
    return signature[:place] + ("a" if signature[place] != "a" else "b") + signature[place + 1:]


def unused_bits_set(signature):
    """Base64 with a bit set that stands for nothing: many decoders give the same bytes for it."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    alphabet += "-_" if "." in signature else "+/"
    last = len(signature.rstrip("=")) - 1
    return signature[:last] + alphabet[alphabet.index(signature[last]) ^ 1] + signature[last + 1:]


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def form(*fields):
    return urllib.parse.urlencode(fields)


# ---------------------------------------------------------------------------------------------------------------------


def mobile_api_connect(node):
    fixture = Fixture(node, "mobile-api-connect", ["npm @octokit/webhooks-methods"], secret="whsec_bm90IGEgcmVhbCBzZWNyZXQ")
    message = {
        "event": "message.received", "from": "15550100001", "to": "15550100002", "text": TEXT, "ref": None,
        "receivedAt": "2026-05-28T20:26:39.000Z", "deviceId": "dev_sample", "tenantId": "ten_sample",
        "tenantName": "Acme Corp", "matchedRuleId": "rule_sample",
    }
    bodies = {
        "a text with every kind of character": compact(message),
        "a text escaped to ASCII and spread over lines": json.dumps({**message, "text": ARABIC}, indent=2) + "\n",
        "an empty text": compact({**message, "text": ""}),
        "a delivery callback": compact({"event": "message.delivered", "ref": "r1", "id": "msg_1", "status": "delivered"}),
    }
    for name, body in bodies.items():
        for header in ("X-MAC-Signature", "X-Webhook-Signature"):
            made = fixture.delivery(body=body)
            made["headers"] = {header: node.sign("@octokit/webhooks-methods", secret=made["secret"], body=body)}
            fixture.valid(f"{name}, in {header}", made)
    made = fixture.delivery(body=bodies["a text with every kind of character"])
    signature = node.sign("@octokit/webhooks-methods", secret=made["secret"], body=made["body"].decode())
    made["headers"] = {"X-MAC-Signature": signature}
    fixture.tampered("a text", made, "X-MAC-Signature", url=False)
    fixture.valid("a text to another URL with a query: neither is signed", {**made, "url": URL + "/2", "query": "a=b"})
    fixture.valid("a text long ago: no time is signed", {**made, "at": AT + 90 * 86_400})
    fixture.invalid("a text, its digest in upper case", with_header(made, "X-MAC-Signature", "sha256=" + signature[7:].upper()))
    fixture.invalid("a text, without the prefix", with_header(made, "X-MAC-Signature", signature[7:]))
    fixture.invalid("a text, with another prefix", with_header(made, "X-MAC-Signature", "sha1=" + signature[7:]))
    fixture.invalid("a text, with a blank before the digest", with_header(made, "X-MAC-Signature", "sha256= " + signature[7:]))
    fixture.invalid("a text, signed twice in one header", with_header(made, "X-MAC-Signature", f"{signature},{signature}"))
    fixture.invalid("a text, its signature in a header that is none of its own", {**made, "headers": {"X-Other-Signature": signature}})
    return fixture


def twilio(node):
    fixture = Fixture(node, "twilio", ["npm twilio", "PyPI twilio"], secret="0123456789abcdef0123456789abcdef")
    fields = [
        ("ToCountry", "US"), ("MessageSid", "SM00000000000000000000000000000001"), ("SmsSid", "SM00000000000000000000000000000001"),
        ("AccountSid", "AC00000000000000000000000000000001"), ("MessagingServiceSid", ""), ("From", "+15550100001"),
        ("To", "+15550100002"), ("Body", TEXT), ("NumSegments", "2"), ("NumMedia", "0"), ("FromCity", ""), ("ApiVersion", "2010-04-01"),
    ]
    header = "X-Twilio-Signature"

    def signed(url=None, to=URL, query=None, body="", method="POST", **given):
        """Signed for `url`, sent to `to`."""
        made = fixture.delivery(url=to, query=query, body=body, method=method, **given)
        full = to if query is None else f"{to}?{query}"
        signature = node.sign("twilio", secret=made["secret"], url=url or full, form=body if method == "POST" else "")
        made["headers"] = {header: signature, "Content-Type": "application/x-www-form-urlencoded"}
        return made

    text = signed(body=form(*fields))
    fixture.valid("a text", text)
    fixture.tampered("a text", text, header)
    fixture.invalid("a text, its signature in hex", with_header(text, header, base64.b64decode(text["headers"][header]).hex()))
    unused = unused_bits_set(text["headers"][header])
    fixture.invalid("a text, an unused bit of the signature's base64 set", with_header(text, header, unused))
    fixture.invalid("a text, without the signature's padding", with_header(text, header, text["headers"][header].rstrip("=")))
    fixture.invalid("a text, with a query that was not signed", {**text, "query": "a=b"})
    fixture.invalid("a text, with a field more", {**text, "body": text["body"] + b"&Extra="+ b"1"})
    fixture.invalid("a text, with a second body", {**text, "body": text["body"] + b"&Body=STOP"})
    fixture.invalid("a text, with a field less", {**text, "body": text["body"].replace(b"&NumMedia=0", b"")})
    fixture.invalid("a text, by plain HTTP", {**text, "url": URL.replace("https", "http")})
    fixture.valid("a text, its fields in another order", {**text, "body": form(*reversed(fields)).encode()})
    fixture.valid("a text, its blanks spelt %20", {**text, "body": text["body"].replace(b"+", b"%20")})
    lower = urllib.parse.urlencode(fields).replace("%2B", "%2b").replace("%C3", "%c3")
    fixture.valid("a text, its escapes in lower case", {**text, "body": lower.encode()})

    bare = [("Body", " two  blanks + a plus "), ("From", "+15550100001"), ("To", "12345"), ("Empty", "")]
    fixture.valid("a text that begins and ends with blanks", signed(body=form(*bare)))
    fixture.valid("a text over several lines", signed(body=form(("Body", ARABIC + "\r\n"), ("From", "+15550100001"))))
    fixture.valid("names that sort by case and punctuation", signed(body=form(*[(n, n) for n in ("b", "B", "a-b", "a", "A", "a_b", "aB", "a1", "a.b")])))
    repeated = [("MediaUrl", "b"), ("Body", "x"), ("MediaUrl", "a"), ("MediaUrl", "b"), ("MediaUrl", "")]
    fixture.valid("a name with several values, one of them twice", signed(body=form(*repeated)))
    fixture.valid("a text with pictures", signed(body=form(*fields, ("MediaUrl0", "https://api.example.com/m/1?a=b&c=d"), ("MediaContentType0", "image/jpeg"))))
    fixture.valid("a WhatsApp sender", signed(body=form(("From", "whatsapp:+15550100001"), ("To", "whatsapp:+15550100002"), ("Body", "hi"))))
    fixture.valid("no fields at all", signed(body=""))

    fixture.valid("a query, which is signed as it stands", signed(query="tenant=a%20b&x=%2B+c&flag&empty=", body=form(*fields)))
    query = signed(query="tenant=a&tenant=b", body=form(*fields))
    fixture.valid("a query with a repeated name", query)
    fixture.invalid("a query with a repeated name, in another order", {**query, "query": "tenant=b&tenant=a"})
    fixture.invalid("a query with a repeated name, left out", {**query, "query": None})
    fixture.valid("a query as GET, without fields", signed(method="GET", query=form(*fields)))
    fixture.invalid("a query as GET, with a field changed", {**signed(method="GET", query=form(*fields)), "query": form(*fields).replace("Tom", "Tim")})

    port, other = URL.replace(".com", ".com:443"), URL.replace(".com", ".com:8443")
    fixture.valid("signed for the URL with its default port, configured without", signed(url=port, body=form(*fields)))
    fixture.valid("signed for the URL without its default port, configured with it", signed(url=URL, to=port, body=form(*fields)))
    fixture.valid("signed for the URL with its default port, configured with it", signed(url=port, to=port, body=form(*fields)))
    fixture.valid("signed for a port of its own", signed(url=other, to=other, body=form(*fields)))
    fixture.valid("signed without the port of its own, as some of the sender's machines do", signed(url=URL, to=other, body=form(*fields)))
    plain = "http://sms.example.com/hooks/sms"
    fixture.valid("plain HTTP, signed with port 80", signed(url=plain.replace(".com", ".com:80"), to=plain, body=form(*fields)))
    fixture.invalid("signed for another port", signed(url=other, body=form(*fields)))
    fixture.invalid("plain HTTP, signed with port 443", signed(url=plain.replace(".com", ".com:443"), to=plain, body=form(*fields)))
    fixture.valid("the default port and a query", signed(url=port + "?a=b", query="a=b", body=form(*fields)))

    body = compact({"type": "com.example.inbound", "data": {"from": "+15550100001", "text": TEXT}})
    hashed = node.sign("twilio body hash", body=body)
    as_json = signed(query=f"bodySHA256={hashed}", body="")
    as_json = {**as_json, "body": body.encode(), "headers": {**as_json["headers"], "Content-Type": "application/json"}}
    fixture.valid("JSON, its hash in the signed query", as_json)
    fixture.tampered("JSON, its hash in the signed query", as_json, header)
    more = signed(query=f"a=b&bodySHA256={hashed}&c=%20d", body="")
    fixture.valid("JSON, its hash between other parameters", {**more, "body": body.encode()})
    upper = signed(query=f"bodySHA256={hashed.upper()}", body="")
    fixture.invalid("JSON, its hash in upper case", {**upper, "body": body.encode()})
    fixture.invalid("JSON, its hash of another body", {**signed(query="bodySHA256=" + "0" * 64), "body": body.encode()})
    fixture.invalid("JSON, its hash empty", {**signed(query="bodySHA256="), "body": body.encode()})
    fixture.invalid("JSON, its hash taken out of the query", {**as_json, "query": None})
    npm_only = {"verifiers": ["npm twilio"]}
    fixture.invalid("JSON without a hash: the URL alone is signed", {**signed(**npm_only), "body": body.encode()})

    shared = fixture.delivery(body=form(*fields), secret="shared-key-not-a-real-secret", algorithm="hmac-sha256", verifiers=["PyPI twilio"])
    settings = "X-Twilio-Webhooks-Signature-Settings"

    def by_key(name, algorithm, said, query=None):
        full = URL if query is None else f"{URL}?{query}"
        value = libraries.sign_twilio(shared["secret"], full, shared["body"].decode(), name)
        headers = {header: value, settings: f"key=webhooks_sharedkey_1,algorithm={said}"}
        return {**shared, "query": query, "headers": headers, "algorithm": algorithm}

    sha256 = by_key("HMAC_SHA256", "hmac-sha256", "HMAC_SHA256")
    fixture.valid("a shared key with HMAC-SHA256", sha256)
    fixture.tampered("a shared key with HMAC-SHA256", sha256, header)
    fixture.valid("a shared key with HMAC-SHA256 and a query", by_key("HMAC_SHA256", "hmac-sha256", "HMAC_SHA256", "a=b"))
    fixture.valid("a shared key with HMAC-SHA1", by_key("HMAC_SHA1", "hmac-sha1", "HMAC_SHA1"))
    pinned = "The header names the algorithm there; here each secret has one, which no header can lower."
    fixture.invalid("a shared key for HMAC-SHA256, signed with SHA1 as its header says", by_key("HMAC_SHA1", "hmac-sha256", "HMAC_SHA1"), stricter=pinned)
    fixture.invalid("a shared key for HMAC-SHA256, signed with SHA1 against its header", by_key("HMAC_SHA1", "hmac-sha256", "HMAC_SHA256"))
    return fixture


def smsgate(node):
    fixture = Fixture(node, "smsgate", ["npm formula", "PyPI formula"], scheme="smsgate", secret="V1StGXR8")
    message = {
        "deviceId": "ffffffffceb0b1db0000018e937c815b", "event": "sms:received", "id": "Ey6ECgOkVVFjz3CL48B8C", "webhookId": "LreFUt-Z3sSq0JufY9uWB",
        "payload": {"messageId": "abc123", "message": TEXT, "sender": "+15550100001", "phoneNumber": "+15550100001", "recipient": "+15550100002", "simNumber": 1, "receivedAt": "2026-05-28T22:26:39.000+02:00"},
    }

    def signed(body, sent=AT):
        made = fixture.delivery(body=body)
        signature = libraries.hex_of_body_and_time(made["secret"], made["body"], str(sent))
        return {**made, "headers": {"X-Timestamp": str(sent), "X-Signature": signature}}

    text = signed(compact(message))
    fixture.valid("a text", text)
    fixture.tampered("a text", text, "X-Signature", url=False, time=300)
    fixture.valid("a text escaped to ASCII", signed(json.dumps({**message, "payload": {"message": ARABIC, "sender": "INFO"}})))
    fixture.valid("a ping", signed(compact({"deviceId": "d", "event": "system:ping", "id": "1", "webhookId": "w", "payload": {"health": {}}})))
    fixture.invalid("a text, its time changed", with_header(text, "X-Timestamp", str(AT + 1)))
    fixture.invalid("a text, without its time", without_header(text, "X-Timestamp"))
    fixture.invalid("a text, with bytes moved from the time to the body", {**with_header(text, "X-Timestamp", str(AT)[1:]), "body": text["body"] + str(AT)[:1].encode()})
    fixture.invalid("a text, its time with a blank", with_header(text, "X-Timestamp", f" {AT}"))
    fixture.invalid("a text, its time with a sign", with_header(signed(compact(message), f"+{AT}"), "X-Timestamp", f"+{AT}"))
    fixture.invalid("a text, its digest in upper case", with_header(text, "X-Signature", text["headers"]["X-Signature"].upper()))
    fixture.invalid("a text, its digest after sha256=", with_header(text, "X-Signature", "sha256=" + text["headers"]["X-Signature"]))
    fixture.invalid("a text, signed without its time", with_header(text, "X-Signature", libraries.hex_of_body_and_time(text["secret"], text["body"], "")))
    return fixture


def standard_webhooks(node):
    secret = "whsec_" + base64.b64encode(b"not a real secret, 32 bytes long").decode()
    other = "whsec_" + base64.b64encode(b"not the same secret, also 32 b..").decode()
    fixture = Fixture(
        node, "standard-webhooks", ["npm standardwebhooks", "PyPI standardwebhooks", "npm svix", "PyPI svix"],
        secret=secret, other_secret=other,
    )
    svix_only = ["npm svix", "PyPI svix"]
    message = {"type": "message.received", "timestamp": "2026-05-28T20:26:39Z", "data": {"id": "m1", "from": "+15550100001", "to": "+15550100002", "text": TEXT}}

    def signed(body, name="msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", sent=AT, family="webhook", key=secret, **given):
        signature = node.sign("svix" if family == "svix" else "standardwebhooks", secret=key, id=name, at=sent, body=body)
        headers = {f"{family}-id": name, f"{family}-timestamp": str(sent), f"{family}-signature": signature}
        return fixture.delivery(body=body, headers=headers, **given)

    text = signed(compact(message))
    fixture.valid("a text", text)
    fixture.tampered("a text", text, "webhook-signature", url=False, time=300)
    old = signed(compact(message), family="svix", verifiers=svix_only)
    fixture.valid("a text under svix's own header names", old)
    fixture.tampered("a text under svix's own header names", old, "svix-signature", url=False, time=300)
    fixture.valid("a text under both header names", {**text, "headers": {**text["headers"], **old["headers"]}})
    by_python = libraries.sign_svix(secret, "msg_1", AT, json.dumps(message))
    fixture.valid("a text signed by the Python library", fixture.delivery(body=json.dumps(message), headers={"webhook-id": "msg_1", "webhook-timestamp": str(AT), "webhook-signature": by_python}))

    signature = text["headers"]["webhook-signature"]
    wrong = signed(compact(message), key=other)["headers"]["webhook-signature"]
    asymmetric = "v1a," + base64.b64encode(bytes(range(64))).decode()
    header = "webhook-signature"
    fixture.valid("two signatures, the second with this secret", with_header(text, header, f"{wrong} {signature}"))
    fixture.valid("two signatures, the first with this secret", with_header(text, header, f"{signature} {wrong}"))
    fixture.valid("an asymmetric signature first", with_header(text, header, f"{asymmetric} {signature}"))
    fixture.valid("a signature of a later version first", with_header(text, header, f"v2,{signature[3:]} {signature}"))
    fixture.invalid("an asymmetric signature alone", with_header(text, header, asymmetric))
    fixture.invalid("the right digest as an asymmetric signature", with_header(text, header, "v1a," + signature[3:]))
    fixture.invalid("two signatures, both wrong", with_header(text, header, f"{wrong} {wrong}"))
    fixture.invalid("two signatures with a comma between them", with_header(text, header, f"{wrong},{signature}"))
    fixture.invalid("the digest without its version", with_header(text, header, signature[3:]))
    fixture.invalid("the digest in hex", with_header(text, header, "v1," + base64.b64decode(signature[3:]).hex()))
    fixture.invalid("the id changed", with_header(text, "webhook-id", "msg_other"))
    fixture.invalid("the time changed", with_header(text, "webhook-timestamp", str(AT + 1)))
    fixture.invalid("without an id", without_header(text, "webhook-id"))
    fixture.invalid("without a time", without_header(text, "webhook-timestamp"))
    fixture.invalid("an empty id", with_header(text, "webhook-id", ""))
    fixture.invalid("a dot moved from the id to the body", {**with_header(text, "webhook-id", "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W." + str(AT)), "body": text["body"]})
    fixture.invalid("a time that is not a whole number", with_header(text, "webhook-timestamp", f"{AT}.5"), stricter="The libraries cut the fraction off; a time is digits here.")
    fixture.invalid("an unused bit of the base64 set", with_header(text, header, unused_bits_set(signature)), stricter="It decodes to the same bytes there; here every changed bit of a header is a refusal.")
    bare = secret.removeprefix("whsec_")
    fixture.valid("a secret that is written without its prefix", {**text, "secret": bare})
    unpadded = "whsec_" + base64.b64encode(b"a key of twenty-five bytes").decode()
    short = signed(compact(message), key=unpadded, secret=unpadded.rstrip("="))
    fixture.valid("a secret that is written without its padding", short)
    fixture.invalid("a secret that is taken as it stands and not decoded", signed(compact(message), key="whsec_" + base64.b64encode(secret.encode()).decode()))
    fixture.valid("an id with dots and blanks", signed(compact(message), name="a.b c.d"))
    fixture.valid("a text in pretty JSON", signed(json.dumps({"text": ARABIC}, indent=1)))
    return fixture


def textbee(node):
    fixture = Fixture(node, "textbee", ["npm formula", "PyPI formula"], scheme="textbee", secret="not-a-real-secret-at-all")
    message = {
        "smsId": "665645d5e4b0a1b2c3d4e5f6", "sender": "+15550100001", "message": TEXT, "receivedAt": "2026-05-28T20:26:39.000Z", "deviceId": "665645d5e4b0a1b2c3d4e5f7",
        "webhookSubscriptionId": "665645d5e4b0a1b2c3d4e5f8", "webhookEvent": "MESSAGE_RECEIVED", "idempotencyKey": "2f1c0a8e",
    }

    def signed(body):
        made = fixture.delivery(body=body)
        return {**made, "headers": {"X-Signature": libraries.digest("sha256", made["secret"], made["body"]).hexdigest()}}

    text = signed(compact(message))
    digest = text["headers"]["X-Signature"]
    fixture.valid("a text", text)
    fixture.tampered("a text", text, "X-Signature", url=False)
    fixture.valid("a text, after sha256= as older versions have it", with_header(text, "X-Signature", "sha256=" + digest))
    fixture.valid("a text over several lines", signed(compact({**message, "message": ARABIC})))
    fixture.valid("a status", signed(compact({"smsId": "1", "webhookEvent": "MESSAGE_DELIVERED", "recipient": "+15550100001", "status": "delivered"})))
    fixture.valid("a text long ago: no time is signed", {**text, "at": AT + 30 * 86_400})
    fixture.invalid("a text, after sha512=", with_header(text, "X-Signature", "sha512=" + digest))
    fixture.invalid("a text, after sha256= twice", with_header(text, "X-Signature", "sha256=sha256=" + digest))
    fixture.invalid("a text, its digest in upper case", with_header(text, "X-Signature", digest.upper()))
    fixture.invalid("a text, written anew by a proxy", {**text, "body": json.dumps(message).encode()})
    return fixture


def telnyx(node):
    seed, other = bytes(range(32)), bytes(range(1, 33))
    public = [libraries.base64_of(libraries.ed25519_public(key)) for key in (seed, other)]
    fixture = Fixture(node, "telnyx", ["npm telnyx", "PyPI telnyx"], ["PyPI PyNaCl"], secret=public[0], other_secret=public[1])
    message = {
        "data": {"event_type": "message.received", "id": "b301ed3f-1490-491f-995f-6e64e69674d4", "occurred_at": "2026-05-28T20:26:39.301+00:00",
                 "payload": {"direction": "inbound", "from": {"phone_number": "+15550100001", "carrier": "T-Mobile"}, "id": "84cca175-9755-4859-b67f-4730d7f58aa3",
                             "media": [], "received_at": "2026-05-28T20:26:39.296+00:00", "text": TEXT, "to": [{"phone_number": "+15550100002", "status": "webhook_delivered"}], "type": "SMS"},
                 "record_type": "event"},
        "meta": {"attempt": 1, "delivered_to": URL},
    }
    header, time = "telnyx-signature-ed25519", "telnyx-timestamp"

    def signed(body, sent=AT, key=seed, between="|", **given):
        signature = libraries.base64_of(libraries.sign_ed25519(key, f"{sent}{between}".encode() + body.encode()))
        return fixture.delivery(body=body, headers={header: signature, time: str(sent)}, **given)

    text = signed(compact(message))
    fixture.valid("a text", text)
    fixture.tampered("a text", text, header, url=False, time=300)
    fixture.valid("a text escaped to ASCII and spread over lines", signed(json.dumps({"data": {"payload": {"text": ARABIC}}}, indent=4) + "\n"))
    fixture.valid("another event", signed(compact({"data": {"event_type": "message.finalized", "payload": {"id": "1"}}})))
    fixture.valid("the account's second key", signed(compact(message), key=other, secret=public[1]))
    fixture.invalid("signed with a dot instead of a bar", signed(compact(message), between="."))
    fixture.invalid("signed by somebody else", signed(compact(message), key=other))
    fixture.invalid("the time changed", with_header(text, time, str(AT + 1)))
    fixture.invalid("without a time", without_header(text, time))
    fixture.invalid("a time with a sign", with_header(text, time, f"+{AT}"))
    signature = base64.b64decode(text["headers"][header])
    fixture.invalid("the signature in hex", with_header(text, header, signature.hex()))
    fixture.invalid("a signature of 63 bytes", with_header(text, header, libraries.base64_of(signature[:63])))
    fixture.invalid("a signature of 65 bytes", with_header(text, header, libraries.base64_of(signature + b"\0")))
    fixture.invalid("a signature of zeros", with_header(text, header, libraries.base64_of(bytes(64))))
    order = 2**252 + 27742317777372353535851937790883648493
    malleable = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    fixture.invalid("the second spelling of the same signature, with the order added", with_header(text, header, libraries.base64_of(signature[:32] + malleable)))
    unused = unused_bits_set(text["headers"][header])
    fixture.invalid("an unused bit of the base64 set", with_header(text, header, unused), stricter="It decodes to the same bytes there; here every changed bit of a header is a refusal.")
    fixture.invalid("an HMAC with the public key instead of a signature", with_header(text, header, libraries.base64_of(libraries.digest("sha512", base64.b64decode(public[0]), f"{AT}|".encode(), text["body"]).digest())))
    return fixture


# ---------------------------------------------------------------------------------------------------------------------
# JSON Web Tokens


def token_attacks(fixture, name, delivery, header, prefix, claims, stricter=None):
    """What is tried on a token, whatever its claims are."""
    node, secret, stricter = fixture.node, delivery["secret"], stricter or {}
    token = delivery["headers"][header].removeprefix(prefix)
    head, payload, signature = token.split(".")

    def attack(how, value):
        fixture.invalid(f"{name}, {how}", with_header(delivery, header, value), stricter.get(how))

    def sign(algorithm, key=secret, **changed):
        return prefix + node.sign("jsonwebtoken", claims={**claims, **changed}, secret=key, algorithm=algorithm)

    def part(value):
        return base64.urlsafe_b64encode(compact(value).encode()).decode().rstrip("=")

    attack("with a digit of the signature changed", prefix + other_digit(token))
    attack("without the signature", f"{prefix}{head}.{payload}.")
    attack("with the signature left away", f"{prefix}{head}.{payload}")
    attack("with a fourth part", f"{prefix}{token}.{signature}")
    attack("with a claim changed", f"{prefix}{head}.{part({**claims, 'jti': 'forged'})}.{signature}")
    attack("alg none, unsigned", f"{prefix}{part({'alg': 'none', 'typ': 'JWT'})}.{payload}.")
    attack("alg None, unsigned", f"{prefix}{part({'alg': 'None', 'typ': 'JWT'})}.{payload}.")
    attack("alg none, with the signature kept", f"{prefix}{part({'alg': 'none', 'typ': 'JWT'})}.{payload}.{signature}")
    attack("alg HS512, and signed so", sign("HS512"))
    attack("alg HS384, and signed so", sign("HS384"))
    attack("alg RS256 in the header, signed with HS256", f"{prefix}{signed_part(part({'alg': 'RS256', 'typ': 'JWT'}), payload, secret)}")
    attack("signed with another secret", sign("HS256", key=OTHER_SECRET))
    attack("an unused bit of the base64 set", prefix + unused_bits_set(token))
    attack("with padding", f"{prefix}{token}=")
    attack("empty", prefix)
    fixture.invalid(f"{name}, without the token", without_header(delivery, header))


def signed_part(head, payload, secret):
    """A token whose header says something else than how it is signed, which no library makes."""
    mac = libraries.digest("sha256", secret, f"{head}.{payload}".encode()).digest()
    return f"{head}.{payload}." + base64.urlsafe_b64encode(mac).decode().rstrip("=")


LENIENT_BASE64 = "It decodes to the same bytes there; here every changed bit of a header is a refusal."


def httpsms(node):
    fixture = Fixture(node, "httpsms", ["npm jsonwebtoken", "PyPI PyJWT"], secret="not-a-real-signing-key")
    message = {
        "specversion": "1.0", "id": "8dc58b8c-7f6c-4a43-b2a3-0a8e0e3a4a57", "source": "/v1/messages/receive", "type": "message.phone.received", "datacontenttype": "application/json", "time": "2026-05-28T20:26:39.123456789Z",
        "data": {"message_id": "b40e5b1c-1b1f-4a3a-9c5e-5b2f3a1f0c11", "user_id": "XtABz6zdeFMoBLoltz6SREDvRSh2", "owner": "+15550100002", "encrypted": False, "contact": "+15550100001", "timestamp": "2026-05-28T20:26:38Z", "content": TEXT, "sim": "SIM1"},
    }
    claims = {"iss": "api.httpsms.com", "sub": "XtABz6zdeFMoBLoltz6SREDvRSh2", "aud": [URL], "exp": AT + 600, "nbf": AT - 600, "iat": AT}
    body = compact(message)

    def signed(body=body, by="npm", algorithm="HS256", query=None, **changed):
        said = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        made = fixture.delivery(body=body, query=query)
        if by == "npm":
            token = node.sign("jsonwebtoken", claims=said, secret=made["secret"], algorithm=algorithm)
        else:
            token = libraries.sign_jwt(said, made["secret"], algorithm)
        return {**made, "headers": {"Authorization": f"Bearer {token}", "X-Event-Type": "message.phone.received"}}

    text = signed()
    fixture.valid("a text", text)
    fixture.valid("a text, signed by PyJWT", signed(by="PyPI"))
    token_attacks(fixture, "a text", text, "Authorization", "Bearer ", claims, {"with padding": LENIENT_BASE64})
    fixture.valid("another text with the same token: nothing binds the body", {**text, "body": compact({**message, "id": "other"}).encode()}, note="That is the scheme; a token is remembered until it expires.")
    fixture.valid("the audience as a text and not a list", signed(aud=URL))
    fixture.valid("two audiences, one of them ours", signed(aud=["https://other.example.com/", URL]))
    fixture.valid("a URL with a query", signed(query="tenant=a", aud=[f"{URL}?tenant=a"]))
    fixture.invalid("the audience of another service", signed(aud=["https://other.example.com/hooks/sms"]))
    fixture.invalid("an audience that ours begins with", signed(aud=[URL[:-1]]))
    fixture.invalid("an audience that begins with ours", signed(aud=[URL + "2"]))
    fixture.invalid("no audience", signed(aud=None))
    fixture.invalid("an audience that is a number", signed(by="PyPI", aud=17))
    fixture.invalid("another issuer", signed(iss="api.example.com"))
    fixture.invalid("no issuer", signed(iss=None))
    fixture.valid("a second before it expires", {**text, "at": AT + 599})
    fixture.invalid("ten minutes after it expired", {**text, "at": AT + 1200})
    fixture.invalid("ten minutes before it begins", {**text, "at": AT - 1200})
    fixture.invalid("a time of expiry that is a text", signed(by="PyPI", exp=str(AT + 600)), stricter="A time is a number there or a text of digits; the standard has a number.")
    forever = signed(exp=None)
    fixture.invalid("no time of expiry, a day later", {**forever, "at": AT + 86_400}, stricter="Without exp the token would be good for ever.")
    fixture.invalid("after Basic instead of Bearer", with_header(text, "Authorization", text["headers"]["Authorization"].replace("Bearer", "Basic")))
    fixture.invalid("without Bearer", with_header(text, "Authorization", text["headers"]["Authorization"].removeprefix("Bearer ")))
    return fixture


def vonage_messages(node):
    fixture = Fixture(node, "vonage-messages", ["npm @vonage/jwt", "PyPI vonage-jwt"], ["npm jsonwebtoken", "PyPI PyJWT"], secret="not-a-real-signature-secret")
    message = {
        "channel": "sms", "message_uuid": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab", "to": "15550100002", "from": "15550100001", "timestamp": "2026-05-28T20:26:39Z",
        "text": TEXT, "message_type": "text", "sms": {"num_messages": "2", "keyword": "TOM"}, "usage": {"currency": "EUR", "price": "0.0057"}, "origin": {"network_code": "12345"},
    }
    claims = {"iat": AT, "jti": "c5ba8f24-1a14-4c10-bfdf-3fbe8ce511b5", "iss": "Vonage", "api_key": "a1b2c3d4", "application_id": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab"}

    def with_hash(body):
        return {**claims, "payload_hash": hashlib.sha256(body.encode()).hexdigest()}

    def signed(body=compact(message), by="npm", said=None, algorithm="HS256"):
        made = fixture.delivery(body=body)
        said = with_hash(body) if said is None else said
        if by == "npm":
            token = node.sign("jsonwebtoken", claims=said, secret=made["secret"], algorithm=algorithm)
        else:
            token = libraries.sign_jwt(said, made["secret"], algorithm)
        return {**made, "headers": {"Authorization": f"Bearer {token}"}}

    body = compact(message)
    text = signed()
    fixture.valid("a text", text)
    fixture.valid("a text, signed by PyJWT", signed(by="PyPI"))
    fixture.valid("a text over several lines", signed(json.dumps({**message, "text": ARABIC}, indent=2)))
    fixture.valid("a status", signed(compact({"message_uuid": "1", "status": "delivered", "to": "15550100001"})))
    token_attacks(fixture, "a text", text, "Authorization", "Bearer ", with_hash(body), {"with padding": LENIENT_BASE64})
    fixture.invalid("a text, with a byte of the body changed", {**text, "body": other_byte(text["body"])})
    fixture.invalid("a text, with a line after the body", {**text, "body": text["body"] + b"\n"})
    fixture.invalid("a text, its body removed", {**text, "body": b""})
    fixture.invalid("no hash of the body", signed(said=claims))
    fixture.invalid("the hash of the body empty", signed(said={**claims, "payload_hash": ""}))
    fixture.invalid("the hash of the body in base64", signed(said={**claims, "payload_hash": libraries.base64_of(hashlib.sha256(body.encode()).digest())}))
    age = "The libraries check no age; without exp the token would be good for ever."
    fixture.valid("five minutes late", {**text, "at": AT + 300})
    fixture.invalid("five minutes and a second late", {**text, "at": AT + 301}, stricter=age)
    fixture.invalid("a day late", {**text, "at": AT + 86_400}, stricter=age)
    fixture.invalid("ten minutes early", {**text, "at": AT - 600}, stricter="The libraries do not look at iat.")
    fixture.invalid("no time of issue", signed(said={name: value for name, value in with_hash(body).items() if name != "iat"}), stricter=age)
    fixture.invalid("another issuer", signed(said={**with_hash(body), "iss": "Somebody"}), stricter="The libraries do not look at the issuer.")
    fixture.invalid("expired, and issued just now", signed(said={**with_hash(body), "exp": AT - 3600}))
    fixture.invalid("checked with another secret", {**text, "secret": OTHER_SECRET})
    return fixture


def messagebird(node):
    fixture = Fixture(node, "messagebird", ["npm messagebird", "PyPI messagebird"], ["npm jsonwebtoken"], secret="not-a-real-signing-key")
    header = "MessageBird-Signature-JWT"
    algorithms = {"HS256": None, "HS384": "hmac-sha384", "HS512": "hmac-sha512"}
    references = node.sign("messagebird reference")
    for number, reference in enumerate(references, 1):
        url, _, query = reference["url"].partition("?")
        algorithm = json.loads(base64.urlsafe_b64decode(reference["token"].partition(".")[0] + "==="))["alg"]
        at = libraries.datetime.datetime.fromisoformat(reference["timestamp"])
        vector = fixture.delivery(
            method=reference["method"], url=url, query=query or None, headers={header: reference["token"]}, body=reference.get("payload", ""),
            secret=reference.get("secret", SECRET), algorithm=algorithms.get(algorithm), at=int(at.timestamp()),
        )
        url_has, body_has = "a query" if query else "no query", "a body" if reference.get("payload") else "no body"
        name = f"reference {number} of {len(references)}: {reference['method']}, {algorithm}, {url_has}, {body_has}"
        fixture.keep(name, vector, reference["valid"], note="A reference vector of the npm package.")

    body = form(("id", "e8077d803532c0b5937c639b60216938"), ("recipient", "15550100002"), ("originator", "15550100001"), ("body", TEXT), ("createdDatetime", "2026-05-28T20:26:39+00:00"))

    def claims(body=body, url=URL, **changed):
        said = {"iss": "MessageBird", "nbf": AT, "exp": AT + 60, "jti": "59a244dc-e9ad-4e23-9778-371faa238f72", "url_hash": hashlib.sha256(url.encode()).hexdigest()}
        if body:
            said["payload_hash"] = hashlib.sha256(body.encode()).hexdigest()
        return {name: value for name, value in {**said, **changed}.items() if value is not None}

    def signed(said, body=body, algorithm="HS256", query=None, method="POST", pinned=None):
        made = fixture.delivery(body=body, query=query, method=method, algorithm=pinned)
        return {**made, "headers": {header: node.sign("jsonwebtoken", claims=said, secret=made["secret"], algorithm=algorithm)}}

    text = signed(claims())
    fixture.valid("a text", text)
    pinned = "The libraries take all three HMACs; here each secret has one, which no token can choose."
    token_attacks(fixture, "a text", text, header, "", claims(), {
        "alg HS512, and signed so": pinned, "alg HS384, and signed so": pinned,
        "an unused bit of the base64 set": LENIENT_BASE64, "with padding": LENIENT_BASE64,
    })
    fixture.valid("a text with HS384, which is pinned", signed(claims(), algorithm="HS384", pinned="hmac-sha384"))
    fixture.valid("a text with HS512, which is pinned", signed(claims(), algorithm="HS512", pinned="hmac-sha512"))
    fixture.invalid("a text with HS256 where HS512 is pinned", signed(claims(), pinned="hmac-sha512"), stricter=pinned)
    fixture.valid("a text as GET", signed(claims("", f"{URL}?{body}"), "", query=body, method="GET"))
    query = signed(claims(url=f"{URL}?a=1&b=%20+"), query="a=1&b=%20+")
    fixture.valid("a URL with a query", query)
    fixture.invalid("a URL with a query, which is changed", {**query, "query": "a=2&b=%20+"})
    fixture.invalid("a URL with a query, which is removed", {**query, "query": None})
    fixture.invalid("a URL with a query, written otherwise", {**query, "query": "a=1&b=++"})
    fixture.invalid("a text, with a byte of the body changed", {**text, "body": other_byte(text["body"])})
    fixture.invalid("a text, its body removed", {**text, "body": b""})
    fixture.invalid("a text sent to another path", {**text, "url": URL + "2"})
    fixture.invalid("no hash of the body", signed(claims(payload_hash=None)))
    fixture.invalid("no hash of the URL", signed(claims(url_hash=None)))
    upper = hashlib.sha256(body.encode()).hexdigest().upper()
    fixture.invalid("the hash of the body in upper case", signed(claims(payload_hash=upper)), stricter="One spelling of a hash is enough.")
    fixture.invalid("no issuer", signed(claims(iss=None)))
    fixture.invalid("another issuer", signed(claims(iss="messagebird")))
    fixture.invalid("five minutes after it expired", {**text, "at": AT + 360})
    fixture.invalid("five minutes before it begins", {**text, "at": AT - 300})
    fixture.valid("half a minute late", {**text, "at": AT + 30})
    return fixture


def vonage_sms(node):
    fixture = Fixture(node, "vonage-sms", ["PyPI vonage-http-client", "PyPI vonage"], secret="not-a-real-signature-secret")
    fields = {
        "msisdn": "15550100001", "to": "15550100002", "messageId": "0B0000004B65F62F", "text": TEXT, "type": "unicode", "keyword": "TOM",
        "api-key": "a1b2c3d4", "message-timestamp": "2026-05-28 20:26:39", "timestamp": str(AT), "nonce": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab",
    }
    both, old = ["PyPI vonage-http-client", "PyPI vonage"], ["PyPI vonage"]
    part = {**fields, "text": "first of two, ", "concat": "true", "concat-ref": "1", "concat-total": "2", "concat-part": "1"}
    algorithms = ["hmac-md5", "hmac-sha1", "hmac-sha256", "hmac-sha512", "md5-suffix"]

    def sent(method, spelling, signed, algorithm, at=AT):
        made = fixture.delivery(method=method, algorithm=algorithm, at=at, verifiers=old if algorithm == "md5-suffix" else both)
        if method == "GET":
            return {**made, "query": urllib.parse.urlencode(signed)}
        if spelling == "JSON":
            return {**made, "body": compact(signed).encode(), "headers": {"Content-Type": "application/json"}}
        return {**made, "body": urllib.parse.urlencode(signed).encode(), "headers": {"Content-Type": "application/x-www-form-urlencoded"}}

    def sign(parameters, algorithm, secret="not-a-real-signature-secret"):
        return {**parameters, "sig": libraries.sign_vonage_sms(secret, parameters, algorithm)}

    for algorithm in algorithms:
        for method, spelling in (("GET", "query"), ("POST", "form"), ("POST", "JSON")):
            name = f"{algorithm}, {method}{'' if method == 'GET' else ' with ' + ('JSON' if spelling == 'JSON' else 'a form')}"
            good = sign(fields, algorithm)

            def made(parameters, at=AT, method=method, spelling=spelling, algorithm=algorithm):
                return sent(method, spelling, parameters, algorithm, at)

            fixture.valid(name, made(good))
            fixture.invalid(f"{name}, the text changed", made({**good, "text": TEXT.replace("Tom", "Tim")}))
            fixture.invalid(f"{name}, the sender changed", made({**good, "msisdn": "15550100009"}))
            fixture.invalid(f"{name}, a parameter more", made({**good, "a": "b"}))
            fixture.invalid(f"{name}, a parameter less", made({key: value for key, value in good.items() if key != "keyword"}))
            fixture.invalid(f"{name}, the signature changed", made({**good, "sig": other_digit(good["sig"])}))
            fixture.invalid(f"{name}, no signature", made(fields))
            fixture.invalid(f"{name}, another secret", made(sign(fields, algorithm, OTHER_SECRET)))
        good = sign(fields, algorithm)
        get = sent("GET", "query", good, algorithm)
        age = "The libraries check no age."
        fixture.valid(f"{algorithm}, in upper case", sent("GET", "query", {**good, "sig": good["sig"].upper()}, algorithm))
        fixture.valid(f"{algorithm}, a part of a long text", sent("GET", "query", sign(part, algorithm), algorithm))
        fixture.valid(f"{algorithm}, a day late", {**get, "at": AT + 86_400})
        fixture.invalid(f"{algorithm}, a day and a second late", {**get, "at": AT + 86_401}, stricter=age)
        fixture.invalid(f"{algorithm}, a day and a second early", {**get, "at": AT - 86_401}, stricter=age)
        fixture.invalid(f"{algorithm}, the time changed", sent("GET", "query", {**good, "timestamp": str(AT + 1)}, algorithm))

    good = sign(fields, "hmac-sha256")
    get = sent("GET", "query", good, "hmac-sha256")
    fixture.valid("an empty text", sent("POST", "form", sign({**fields, "text": ""}, "hmac-sha256"), "hmac-sha256"))
    fixture.valid("a binary text", sent("GET", "query", sign({**fields, "type": "binary", "data": "f0e5bd45df", "udh": "050003f40101"}, "hmac-sha256"), "hmac-sha256"))
    swapped = {**good, "text": TEXT.replace("&", "_").replace("=", "_")}
    fixture.valid("& and = in a value are signed as _", sent("GET", "query", swapped, "hmac-sha256"), note="So the scheme itself cannot tell them apart.")
    fixture.valid("the parameters in another order", {**get, "query": urllib.parse.urlencode(dict(reversed(good.items())))})
    fixture.valid("blanks spelt %20", {**get, "query": get["query"].replace("+", "%20")})
    fixture.invalid("a second text after the signed one", {**get, "query": get["query"] + "&text=STOP"})
    fixture.invalid("a second text before the signed one", {**get, "query": "text=STOP&" + get["query"]}, stricter="The libraries are given the last of a repeated name; here one name twice is not what was signed.")
    fixture.invalid("signed with SHA-256 where SHA-512 is pinned", {**get, "algorithm": "hmac-sha512"})
    fixture.invalid("signed with HMAC-MD5 where SHA-256 is pinned", {**sent("GET", "query", sign(fields, "hmac-md5"), "hmac-sha256")})
    fixture.invalid("signed with plain MD5 where HMAC-MD5 is pinned", {**sent("GET", "query", sign(fields, "md5-suffix"), "hmac-md5")})
    no_time = {key: value for key, value in fields.items() if key != "timestamp"}
    forged = libraries.digest("sha256", SECRET, b"x").hexdigest()
    fixture.invalid("no time", sent("GET", "query", {**no_time, "sig": forged}, "hmac-sha256"))
    return fixture


def plivo(node):
    fixture = Fixture(node, "plivo", ["npm plivo", "PyPI plivo"], secret="not-a-real-auth-token-of-plivo")
    nonce = "X-Plivo-Signature-V2-Nonce"
    fields = form(("From", "15550100001"), ("To", "15550100002"), ("Text", TEXT), ("Type", "sms"), ("MessageUUID", "c5a1ee08-d79a-11ec-b4c2-0242ac110005"))

    def signed(header="X-Plivo-Signature-V2", number="12345678901234567890", url=URL, key=None, **given):
        made = fixture.delivery(body=fields, **given)
        value = libraries.base64_of(libraries.digest("sha256", key or made["secret"], (url + number).encode()).digest())
        return {**made, "headers": {header: value, nonce: number, "Content-Type": "application/x-www-form-urlencoded"}}

    fixture.made_with.insert(0, "the formula of Plivo's documentation: python hmac")
    for header, whose in (("X-Plivo-Signature-V2", "the account's token"), ("X-Plivo-Signature-Ma-V2", "the main account's token")):
        text = signed(header)
        fixture.valid(f"a text signed with {whose}", text)
        fixture.tampered(f"a text signed with {whose}", text, header, body=False)
    text = signed()
    other = signed("X-Plivo-Signature-Ma-V2", key=OTHER_SECRET)["headers"]["X-Plivo-Signature-Ma-V2"]
    fixture.valid("both tokens, the first with this secret", with_header(text, "X-Plivo-Signature-Ma-V2", other))
    fixture.valid("both tokens, the second with this secret", {**with_header(text, "X-Plivo-Signature-Ma-V2", other), "secret": OTHER_SECRET})
    fixture.valid("another text with the same nonce: nothing binds the body", {**text, "body": text["body"].replace(b"Tom", b"STOP")}, note="That is the scheme; a nonce is remembered.")
    fixture.valid("a query, which is not signed", {**text, "query": "a=b"})
    fixture.valid("a text as GET", {**signed(method="GET"), "query": fields, "body": b""})
    port = URL.replace(".com", ".com:8443")
    fixture.valid("a port of its own", signed(url=port) | {"url": port})
    fixture.invalid("the nonce changed", with_header(text, nonce, "12345678901234567891"))
    fixture.invalid("without a nonce", without_header(text, nonce))
    fixture.invalid("an empty nonce", with_header(text, nonce, ""))
    fixture.invalid("the signature in hex", with_header(text, "X-Plivo-Signature-V2", base64.b64decode(text["headers"]["X-Plivo-Signature-V2"]).hex()))
    fixture.invalid("an unused bit of the base64 set", with_header(text, "X-Plivo-Signature-V2", unused_bits_set(text["headers"]["X-Plivo-Signature-V2"])))
    fixture.invalid("signed with the query", signed(url=URL + "?a=b") | {"query": "a=b"})
    fixture.invalid("by plain HTTP", {**text, "url": URL.replace("https", "http")})
    return fixture


def sinch(node):
    fixture = Fixture(node, "sinch", ["npm @sinch/sms"], secret="not-a-real-webhook-secret")
    name = "x-sinch-webhook-signature"
    message = {"body": TEXT, "from": "15550100001", "id": "01FC66621ABCDE119Z8PMV1QPA", "operator_id": "35000", "received_at": "2026-05-28T20:26:39.123Z", "to": "15550100002", "type": "mo_text"}

    def signed(body, sent=AT, nonce="01FJA8B4A7BM43YGWSG9GBV067", between="."):
        made = fixture.delivery(body=body)
        value = libraries.digest("sha256", made["secret"], made["body"], f"{between}{nonce}{between}{sent}".encode()).digest()
        headers = {name: libraries.base64_of(value), f"{name}-algorithm": "HmacSHA256", f"{name}-nonce": nonce, f"{name}-timestamp": str(sent)}
        return {**made, "headers": headers}

    fixture.made_with.insert(0, "the formula of Sinch's documentation: python hmac")
    text = signed(compact(message))
    age = "The library checks no age."
    fixture.valid("a text", text)
    fixture.tampered("a text", text, name, url=False, time=172_800, stricter={"172801 seconds late": age, "172801 seconds early": age})
    fixture.valid("a text over several lines, escaped to ASCII", signed(json.dumps({**message, "body": ARABIC}, indent=1)))
    fixture.valid("a picture", signed(compact({**message, "type": "mo_media", "body": {"subject": "s", "media": [{"url": "https://media.example.com/1.jpg"}]}})))
    fixture.valid("a delivery report", signed(compact({"type": "recipient_delivery_report_sms", "batch_id": "01", "status": "Delivered", "code": 0})))
    fixture.valid("a body full of dots", signed(compact({**message, "body": "1.2.3"})))
    fixture.invalid("the time changed", with_header(text, f"{name}-timestamp", str(AT + 1)))
    fixture.invalid("the nonce changed", with_header(text, f"{name}-nonce", "01FJA8B4A7BM43YGWSG9GBV068"))
    fixture.invalid("without a time", without_header(text, f"{name}-timestamp"))
    fixture.invalid("without a nonce", without_header(text, f"{name}-nonce"))
    fixture.invalid("signed with a bar instead of a dot", signed(compact(message), between="|"))
    fixture.invalid("an unused bit of the base64 set", with_header(text, name, unused_bits_set(text["headers"][name])))
    fixture.invalid("the digest in hex", with_header(text, name, base64.b64decode(text["headers"][name]).hex()))
    return fixture


def bird(node):
    fixture = Fixture(node, "bird", ["npm formula", "PyPI formula"], scheme="bird", secret="not-a-real-signing-key")
    header, time = "messagebird-signature", "messagebird-request-timestamp"
    message = {
        "service": "channels", "event": "sms.inbound", "payload": {
            "id": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab", "channelId": "bbbbbbbb-bbbb-4ccc-8ddd-0123456789ab", "sender": {"contact": {"identifierValue": "+15550100001"}},
            "receiver": {"connector": {"id": "cccccccc-bbbb-4ccc-8ddd-0123456789ab"}}, "body": {"type": "text", "text": {"text": TEXT}}, "direction": "incoming", "createdAt": "2026-05-28T20:26:39.123Z"},
    }

    def signed(body, url=None, query=None, sent=AT):
        made = fixture.delivery(body=body, query=query)
        full = URL if query is None else f"{URL}?{query}"
        value = libraries.bird_signature(made["secret"], str(sent), url or full, made["body"])
        return {**made, "headers": {header: value, time: str(sent), "messagebird-request-id": "dddddddd-bbbb-4ccc-8ddd-0123456789ab"}}

    text = signed(compact(message))
    fixture.valid("a text", text)
    fixture.tampered("a text", text, header, time=86_400)
    fixture.valid("a text over several lines", signed(json.dumps(message, indent=2)))
    query = signed(compact(message), query="tenant=a&b=%20")
    fixture.valid("a URL with a query", query)
    fixture.invalid("a URL with a query, which is changed", {**query, "query": "tenant=b&b=%20"})
    fixture.invalid("a URL with a query, which is removed", {**query, "query": None})
    fixture.invalid("signed for another URL", signed(compact(message), url=URL + "/"))
    fixture.invalid("the time changed", with_header(text, time, str(AT + 1)))
    fixture.invalid("without a time", without_header(text, time))
    fixture.invalid("the hash of the body signed as hex", with_header(text, header, libraries.base64_of(libraries.digest("sha256", text["secret"], f"{AT}\n{URL}\n{hashlib.sha256(text['body']).hexdigest()}".encode()).digest())))
    fixture.invalid("an unused bit of the base64 set", with_header(text, header, unused_bits_set(text["headers"][header])))
    fixture.valid("another request id, which is not signed", with_header(text, "messagebird-request-id", "other"))
    return fixture


def basic(node, gateway, body):
    """Gateways that send HTTP Basic credentials: nothing of the delivery is bound."""
    fixture = Fixture(node, gateway, ["npm formula", "PyPI formula"], scheme="basic", secret="smshook:not-a-real-password", other_secret="smshook:another-password")
    header = "Authorization"

    def sent(secret):
        return fixture.delivery(body=body, secret=secret, headers={header: "Basic " + libraries.base64_of(secret.encode())})

    text = sent("smshook:not-a-real-password")
    fixture.valid("a text", text)
    fixture.valid("another body: nothing binds it", {**text, "body": other_byte(text["body"])})
    fixture.valid("a password with colons and other characters", sent("smshook:p:ä:😀+/="))
    fixture.tampered("a text", text, header, url=False, body=False)
    fixture.invalid("the credentials in the clear", with_header(text, header, "Basic smshook:not-a-real-password"))
    fixture.invalid("another user", with_header(text, header, "Basic " + libraries.base64_of(b"other:not-a-real-password")))
    fixture.invalid("the user alone", with_header(text, header, "Basic " + libraries.base64_of(b"smshook:")))
    fixture.invalid("as Bearer", with_header(text, header, text["headers"][header].replace("Basic", "Bearer")))
    fixture.invalid("a character more", with_header(text, header, "Basic " + libraries.base64_of(b"smshook:not-a-real-password1")))
    return fixture


def bandwidth(node):
    event = {"type": "message-received", "time": "2026-05-28T20:26:39.123Z", "description": "Incoming message received", "to": "+15550100002",
             "message": {"id": "14762070468292kw2fuqty55yp2b2", "owner": "+15550100002", "applicationId": "93de2206-9669-4e07-948d-329f4b722ee2", "time": "2026-05-28T20:26:39.123Z",
                         "segmentCount": 1, "direction": "in", "to": ["+15550100002"], "from": "+15550100001", "text": TEXT}}
    return basic(node, "bandwidth", compact([event]))


def infobip(node):
    item = {"messageId": "817790313235066447", "from": "15550100001", "to": "15550100002", "text": TEXT, "cleanText": TEXT, "keyword": "TOM", "receivedAt": "2026-05-28T20:26:39.123+0000", "smsCount": 1}
    return basic(node, "infobip", compact({"results": [item], "messageCount": 1, "pendingMessageCount": 0}))


def clicksend(node):
    """A token in the query, which the endpoint's URL has: nothing of the delivery is bound."""
    fixture = Fixture(node, "clicksend", ["npm formula", "PyPI formula"], scheme="query token", secret="not-a-real-token")
    fields = {"timestamp": str(AT), "from": "+15550100001", "body": TEXT, "original_body": "", "original_message_id": "", "to": "+15550100002", "custom_string": "", "message_id": "99F1E3A2", "user_id": "1"}
    as_form = urllib.parse.urlencode(fields)
    text = fixture.delivery(body=as_form, query="token=not-a-real-token")
    fixture.valid("a text as a form", text)
    fixture.valid("a text as JSON", {**text, "body": compact(fields).encode()})
    fixture.valid("a text as GET, the token first", {**text, "method": "GET", "body": b"", "query": f"token=not-a-real-token&{as_form}"})
    fixture.valid("a text as GET, the token last", {**text, "method": "GET", "body": b"", "query": f"{as_form}&token=not-a-real-token"})
    fixture.valid("another body: nothing binds it", {**text, "body": other_byte(text["body"])})
    fixture.valid("a token that is escaped", {**text, "secret": "a b+c&d=ä%", "query": urllib.parse.urlencode({"token": "a b+c&d=ä%"})})
    fixture.invalid("another token", {**text, "query": "token=not-a-real-tokem"})
    fixture.invalid("a token cut short", {**text, "query": "token=not-a-real-toke"})
    fixture.invalid("a token with a character more", {**text, "query": "token=not-a-real-token1"})
    fixture.invalid("an empty token", {**text, "query": "token="})
    fixture.invalid("a token without a value", {**text, "query": "token"})
    fixture.invalid("no query", {**text, "query": None})
    fixture.invalid("a token in the form and not in the query", {**text, "query": None, "body": text["body"] + b"&token=not-a-real-token"})
    fixture.invalid("a token under another name", {**text, "query": "Token=not-a-real-token"})
    fixture.invalid("checked with another secret", {**text, "secret": OTHER_SECRET})
    return fixture


def generic(node):
    """The preset, and schemes that a configuration file writes: `like` replaces keys of the gateway `generic`."""
    fixture = Fixture(node, "generic", ["npm formula", "PyPI formula"], ["npm @octokit/webhooks-methods"])
    message = compact({"id": "m1", "from": "+15550100001", "to": "+15550100002", "text": TEXT})
    plain = {"headers": ["X-Signature"], "prefix": "", "prefix_optional": False, "encoding": "hex", "algorithm": "hmac-sha256", "content": "{body}", "secret_encoding": "utf8"}

    def like(**keys):
        return {"like": {"signature": {**plain, **keys}}}

    def body_mac(name, scheme, header, value, tamper=True, body=message, secret=SECRET, **keys):
        made = fixture.delivery(body=body, secret=secret, scheme=scheme, headers={header: value}, **like(headers=[header], **keys))
        fixture.valid(name, made)
        if tamper:
            fixture.tampered(name, made, header, url=False)
        return made

    def mac(algorithm, *pieces, secret=SECRET):
        return libraries.digest(algorithm, secret, *pieces)

    data = message.encode()
    for header in ("X-Signature", "X-Webhook-Signature", "X-Hub-Signature-256", "X-Signature-256"):
        value = "sha256=" + mac("sha256", data).hexdigest()
        preset = fixture.delivery(body=message, headers={header: value}, verifiers=["npm @octokit/webhooks-methods"])
        fixture.valid(f"as it comes, in {header}", preset)
    fixture.tampered("as it comes", preset, header, url=False)
    fixture.valid("as it comes, without the prefix", with_header({**preset, "scheme": "textbee", "verifiers": ["npm formula", "PyPI formula"], "headers": {}}, "X-Signature", value[7:]))
    as_form = form(("from", "+15550100001"), ("to", "+15550100002"), ("text", TEXT))
    fixture.valid("as it comes, with a form", {**preset, "body": as_form.encode(), "headers": {header: "sha256=" + mac("sha256", as_form.encode()).hexdigest()}})
    body_mac("HMAC-SHA512 of the body", "body sha512", "X-Signature", "sha512=" + mac("sha512", data).hexdigest(), prefix="sha512=", algorithm="hmac-sha512")
    body_mac("HMAC-SHA384 of the body in base64", "body sha384", "X-Signature", libraries.base64_of(mac("sha384", data).digest()), algorithm="hmac-sha384", encoding="base64")
    body_mac("HMAC-SHA1 of the body", "body sha1", "X-Hub-Signature", "sha1=" + mac("sha1", data).hexdigest(), prefix="sha1=", algorithm="hmac-sha1")
    raw = b"\xff\xfe\x00binary\x80"
    body_mac("a body that is not text", "body sha1", "X-Hub-Signature", "sha1=" + mac("sha1", raw).hexdigest(), body=raw, prefix="sha1=", algorithm="hmac-sha1")
    key = libraries.base64_of(b"not a real key, but sixteen and more")
    made = body_mac("a key in base64", "body base64 key", "X-Signature", libraries.base64_of(mac("sha256", data, secret=base64.b64decode(key)).digest()), tamper=False, secret=key, encoding="base64", secret_encoding="base64")
    fixture.invalid("a key in base64, with a byte of the body changed", {**made, "body": other_byte(made["body"])})
    fixture.invalid("a key in base64, another one", {**made, "secret": libraries.base64_of(b"another key")})
    any_case = body_mac("a digest in any case, upper", "body any case", "X-Signature", mac("sha256", data).hexdigest().upper(), encoding="hex-any-case")
    fixture.valid("a digest in any case, lower", with_header(any_case, "X-Signature", mac("sha256", data).hexdigest()))
    right, wrong = ("sha256=" + mac("sha256", data, secret=key).hexdigest() for key in (SECRET, OTHER_SECRET))
    listed = body_mac("a list of digests, the second right", "body list", "X-Signatures", f"{wrong},{right}", tamper=False, separator=",", prefix="sha256=")
    fixture.valid("a list of digests, the first right", with_header(listed, "X-Signatures", f"{right},{wrong}"))
    fixture.valid("a list of digests, with one of another kind", with_header(listed, "X-Signatures", f"sha1=00,{right}"))
    fixture.invalid("a list of digests, none right", with_header(listed, "X-Signatures", f"{wrong},{wrong}"))
    fixture.invalid("a list of digests, with another separator", with_header(listed, "X-Signatures", f"{wrong} {right}"))
    fixture.invalid("a list of digests, with a byte of the body changed", {**listed, "body": other_byte(listed["body"])})

    twilio_body = form(("From", "+15550100001"), ("To", "+15550100002"), ("Body", TEXT), ("MessageSid", "SM1"))
    body_mac("Twilio's form with another service's signature over the raw body", "smsgw", "x-smsgw-signature", mac("sha256", twilio_body.encode()).hexdigest(), body=twilio_body)

    sent = AT * 1000
    cymba = fixture.delivery(body=message, scheme="cymba", headers={"timestamp": str(sent), "signature": mac("sha256", f"{sent}.".encode(), data).hexdigest()},
                             **like(headers=["signature"], content="{timestamp}.{body}", timestamp_header="timestamp", timestamp_unit="ms"))
    fixture.valid("a time in milliseconds", cymba)
    fixture.tampered("a time in milliseconds", cymba, "signature", url=False, time=300)
    auto = copy.deepcopy(cymba)
    auto["like"]["signature"]["timestamp_unit"] = "auto"
    fixture.valid("a time in milliseconds, known by its thirteen digits", auto)

    bound = f"v1:{AT}|POST|{URL}?a=b|".encode()
    whole = fixture.delivery(body=message, query="a=b", scheme="method and url", headers={"X-Timestamp": str(AT), "X-Signature": mac("sha256", bound, data).hexdigest()},
                             **like(content="v1:{timestamp}|POST|{url}|{body}", timestamp_header="X-Timestamp"))
    fixture.valid("time, method, URL and body in one", whole)
    fixture.tampered("time, method, URL and body in one", whole, "X-Signature", time=300)
    fixture.invalid("time, method, URL and body in one, with another query", {**whole, "query": "a=c"})

    stripe_style(fixture, node, plain, message)
    dixa_key = "00112233445566778899aabbccddeeff"
    value = mac("sha256", f"{sent}.".encode(), data, secret=bytes.fromhex(dixa_key)).hexdigest()
    dixa = fixture.delivery(body=message, secret=dixa_key, other_secret="ff" * 16, scheme="dixa", headers={"X-Dixa-Signature": f"t={sent},v1={value}"},
                            **like(headers=["X-Dixa-Signature"], keys=["v1"], timestamp_key="t", timestamp_unit="ms", content="{timestamp}.{body}", secret_encoding="hex"))
    fixture.valid("pairs with a time in milliseconds and a key in hex", dixa)
    fixture.tampered("pairs with a time in milliseconds and a key in hex", dixa, "X-Dixa-Signature", url=False, time=300)

    plivo_v3(fixture)
    static(fixture, message)
    return fixture


def stripe_style(fixture, node, plain, message):
    """Pairs of keys and values in one header, as Stripe has them; its libraries sign and verify."""
    verifiers = ["npm stripe", "PyPI stripe"]
    fixture.uses(*verifiers)
    secret, header = "whsec_not_a_real_secret", "Stripe-Signature"
    keys = {**plain, "headers": [header], "keys": ["v1"], "timestamp_key": "t", "content": "{timestamp}.{body}"}

    def signed(key=secret, body=message, keys=keys, scheme=None, sent=AT):
        value = node.sign("stripe", secret=key, body=body, at=sent, scheme=scheme)
        return fixture.delivery(body=body, secret=secret, headers={header: value}, verifiers=verifiers, like={"signature": keys})

    text = signed()
    past = {"301 seconds early": "Stripe's libraries look only for what is too old."}
    fixture.valid("Stripe style", text)
    fixture.tampered("Stripe style", text, header, url=False, time=300, stricter=past)
    fixture.valid("Stripe style, a text over several lines", signed(body=json.dumps({"text": ARABIC}, indent=1)))
    value, other = text["headers"][header], signed(OTHER_SECRET)["headers"][header]
    v1, wrong = value.split(",")[1], other.split(",")[1]
    fixture.valid("Stripe style, two signatures, the second right", with_header(text, header, f"t={AT},{wrong},{v1}"))
    fixture.valid("Stripe style, two signatures, the first right", with_header(text, header, f"t={AT},{v1},{wrong}"))
    fixture.valid("Stripe style, with an older kind of signature", with_header(text, header, f"{value},v0={'0' * 64}"))
    fixture.valid("Stripe style, the time after the signature", with_header(text, header, f"{v1},t={AT}"))
    fixture.invalid("Stripe style, two signatures, both wrong", with_header(text, header, f"t={AT},{wrong},{wrong}"))
    fixture.invalid("Stripe style, the right digest under another key", with_header(text, header, value.replace("v1=", "v0=")))
    fixture.invalid("Stripe style, no time", with_header(text, header, v1))
    fixture.invalid("Stripe style, the time changed", with_header(text, header, f"t={AT + 1},{v1}"))
    fixture.invalid("Stripe style, a second time after the signed one", with_header(text, header, f"{value},t={AT + 1}"), stricter="Which of two times was signed cannot be known; one library takes the first, the other the last.")
    fixture.invalid("Stripe style, a time with letters after it", with_header(text, header, f"t={AT}abc,{v1}"), stricter="A time is digits here.")
    fixture.invalid("Stripe style, the digest in upper case", with_header(text, header, f"t={AT},v1={v1[3:].upper()}"))
    two = {**keys, "keys": ["v1", "v2"]}
    previous = signed(OTHER_SECRET)["headers"][header] + "," + signed(scheme="v2")["headers"][header].split(",")[1]
    # Stripe's own verifiers know only v1; the digest under v2 is what they signed, so they judge it under that name.
    fixture.valid("Stripe style, the previous key's digest under v2", {**text, "like": {"signature": two}, "headers": {header: previous.replace("v2=", "v1=")}})
    held = {**text, "like": {"signature": two}, "headers": {header: previous}}
    fixture.vectors.append(written("Stripe style, the previous key's digest under a key of its own", held, True, "Signed by npm stripe with the scheme v2; its verifier knows only v1."))
    fixture.invalid("Stripe style, the digest under v2 where only v1 is wanted", {**text, "headers": {header: previous}})


def plivo_v3(fixture):
    """Plivo's third scheme signs the fields as well; for URLs without a query the tokens of a configuration file say it."""
    verifiers = ["npm plivo V3", "PyPI plivo V3"]
    fixture.uses(*verifiers)
    header, nonce = "X-Plivo-Signature-V3", "X-Plivo-Signature-V3-Nonce"
    keys = {"headers": [header], "prefix": "", "prefix_optional": False, "separator": ",", "encoding": "base64", "algorithm": "hmac-sha256", "secret_encoding": "utf8",
            "content": "{base_url}?{form_sorted}.{header:X-Plivo-Signature-V3-Nonce}", "nonce_header": nonce}
    fields = [("From", "15550100001"), ("To", "15550100002"), ("Text", TEXT), ("Type", "sms")]
    signed = URL + "?" + "".join(name + value for name, value in sorted(fields)) + ".12345"
    value = libraries.base64_of(libraries.digest("sha256", SECRET, signed.encode()).digest())
    other = libraries.base64_of(libraries.digest("sha256", OTHER_SECRET, signed.encode()).digest())
    text = fixture.delivery(body=form(*fields), headers={header: value, nonce: "12345"}, verifiers=verifiers, like={"format": "form", "signature": keys})
    fixture.valid("Plivo's third scheme", text)
    fixture.tampered("Plivo's third scheme", text, header)
    fixture.valid("Plivo's third scheme, two signatures", with_header(text, header, f"{other},{value}"))
    fixture.invalid("Plivo's third scheme, the nonce changed", with_header(text, nonce, "12346"))
    fixture.invalid("Plivo's third scheme, a field changed", {**text, "body": form(*fields[:-1], ("Type", "mms")).encode()})


def static(fixture, message):
    """Secrets that are sent as they are: nothing of the delivery is bound."""
    def keys(**given):
        return {"like": {"signature": {"kind": "static", **given}}}

    token = fixture.delivery(body=message, scheme="header token", headers={"X-Token": SECRET}, **keys(headers=["X-Token"]))
    fixture.valid("a token in a header", token)
    fixture.tampered("a token in a header", token, "X-Token", url=False, body=False)
    bearer = fixture.delivery(body=message, scheme="bearer", headers={"Authorization": f"Bearer {SECRET}"}, **keys(headers=["Authorization"], prefix="Bearer "))
    fixture.valid("a bearer token", bearer)
    fixture.tampered("a bearer token", bearer, "Authorization", url=False, body=False)
    basic = fixture.delivery(body=message, scheme="basic", secret="user:not-a-real-password", headers={"Authorization": "Basic " + libraries.base64_of(b"user:not-a-real-password")}, **keys(headers=["Authorization"], prefix="Basic ", encoding="base64"))
    fixture.valid("a user and a password", basic)
    fixture.tampered("a user and a password", basic, "Authorization", url=False, body=False)
    query = fixture.delivery(body=message, scheme="query token", query=f"a=b&token={SECRET}&c=d", **keys(param="token"))
    fixture.valid("a token in the query", query)
    escaped = fixture.delivery(body=message, scheme="query token", secret="a b+c&d=ä", query=urllib.parse.urlencode({"token": "a b+c&d=ä"}), **keys(param="token"))
    fixture.valid("a token in the query that is escaped", escaped)
    fixture.invalid("a token in the query, changed", {**query, "query": f"token={SECRET}x"})
    fixture.invalid("a token in the query, cut short", {**query, "query": f"token={SECRET[:-1]}"})
    fixture.invalid("a token in the query, empty", {**query, "query": "token="})
    fixture.invalid("a token in the query, under another name", {**query, "query": f"Token={SECRET}"})
    fixture.invalid("a token in the query, left out", {**query, "query": "a=b"})
    fixture.invalid("a token in the query, none at all", {**query, "query": None})
    fixture.invalid("a token in the query, the wrong one first", {**query, "query": f"token=wrong&token={SECRET}"})


FIXTURES = [
    mobile_api_connect, twilio, smsgate, standard_webhooks, textbee, telnyx, httpsms, vonage_messages, vonage_sms, plivo, sinch,
    bandwidth, messagebird, bird, infobip, clicksend, generic,
]


# ---------------------------------------------------------------------------------------------------------------------


def make(node):
    """Every file's text by its name; ends the program if a library disagrees."""
    files, problems = {}, []
    for build in FIXTURES:
        fixture = build(node)
        problems += fixture.problems
        vectors = ",\n".join("    " + json.dumps(vector, ensure_ascii=True) for vector in fixture.vectors)
        head = json.dumps(fixture.made_with)
        files[f"{fixture.gateway}.json"] = f'{{\n  "made_with": {head},\n  "vectors": [\n{vectors}\n  ]\n}}\n'
        good = sum(vector["valid"] for vector in fixture.vectors)
        print(f"{fixture.gateway}: {good} valid, {len(fixture.vectors) - good} invalid")
    if problems:
        sys.exit("\n".join(["The libraries disagree with these:", *problems]))
    return files


def compare(files):
    committed = {path.name: path.read_text() for path in VECTORS.glob("*.json")}
    wrong = sorted(name for name in files.keys() | committed.keys() if files.get(name) != committed.get(name))
    if wrong:
        sys.exit(f"These files are not what the libraries make now: {', '.join(wrong)}. Run tests/vendor_libraries/run and look at the difference.")
    print(f"{len(files)} files are as the libraries make them.")


# Who judges what smshook signs. Without a library of the vendor, the formula does, in both languages.
JUDGES = {
    "mobile-api-connect": ["npm @octokit/webhooks-methods"],
    "twilio": ["npm twilio", "PyPI twilio"],
    "standard-webhooks": ["npm standardwebhooks", "PyPI standardwebhooks", "npm svix", "PyPI svix"],
    "telnyx": ["npm telnyx", "PyPI telnyx"],
    "httpsms": ["npm jsonwebtoken", "PyPI PyJWT"],
    "vonage-messages": ["npm @vonage/jwt", "PyPI vonage-jwt"],
    "vonage-sms": ["PyPI vonage-http-client", "PyPI vonage"],
    "plivo": ["npm plivo", "PyPI plivo"],
    "sinch": ["npm @sinch/sms"],
    "messagebird": ["npm messagebird", "PyPI messagebird"],
    "stripe": ["npm stripe", "PyPI stripe"],
    "smsgate": ["npm formula", "PyPI formula"],
    "textbee": ["npm formula", "PyPI formula"],
    "bird": ["npm formula", "PyPI formula"],
    "bandwidth": ["npm formula", "PyPI formula"],
    "infobip": ["npm formula", "PyPI formula"],
    "clicksend": ["npm formula", "PyPI formula"],
    "generic": ["npm @octokit/webhooks-methods"],
}
# What a secret without an algorithm of its own is for, where it is not what the library takes it for.
ALGORITHMS = {"vonage-sms": "md5-suffix"}
SCHEMES = {"bandwidth": "basic", "infobip": "basic", "clicksend": "query token"}


def judges(gateway, algorithm, headers):
    if gateway == "standard-webhooks" and not any(name.lower() == "webhook-id" for name in headers):
        return ["npm svix", "PyPI svix"]
    if gateway == "twilio" and algorithm == "hmac-sha256":
        return ["PyPI twilio"]
    if gateway == "vonage-sms" and algorithm == "md5-suffix":
        return ["PyPI vonage"]
    return JUDGES.get(gateway)


def ours(node, path, arguments):
    """Has the libraries verify what smshook signed. Every line is a delivery; keys that it lacks come from the options."""
    judged, refused = 0, []
    text = sys.stdin.read() if path == "-" else Path(path).read_text()
    for number, line in enumerate(filter(str.strip, text.splitlines()), 1):
        delivery = one_of_ours(json.loads(line), arguments)
        libraries_asked = judges(delivery["gateway"], delivery["algorithm"], delivery["headers"])
        if libraries_asked is None:
            sys.exit(f"{path}, delivery {number}: no library and no formula verifies for the gateway {delivery['gateway']}.")
        for library in libraries_asked:
            judged += 1
            if not judge(node, library, delivery):
                refused.append(f"{path}, delivery {number} ({delivery['gateway']}): {library} refuses it.")
    if refused or judged == 0:
        sys.exit("\n".join(refused) or f"{path} holds no delivery.")
    print(f"{judged} verdicts of the vendors' libraries, none against.")


def one_of_ours(given, arguments):
    """A delivery as the libraries are asked about it, from the vector format or from `smshook send --dry-run --json`."""
    secret = given.get("secret") or os.environ.get(arguments.secret_env or "")
    gateway = given.get("gateway") or arguments.gateway
    if not secret or not gateway:
        sys.exit("A delivery needs a gateway and a secret: in its line, or by --gateway and --secret-env.")
    headers = given["headers"] if isinstance(given["headers"], dict) else dict(given["headers"])
    body = base64.b64decode(given["body_base64"]) if "body_base64" in given else (given.get("body") or "").encode()
    at = given["at"]
    if gateway == "telnyx":
        # smshook signs with the seed; the library is given the public key that belongs to it.
        secret = libraries.base64_of(libraries.ed25519_public(base64.b64decode(secret)))
    return {
        "gateway": gateway, "scheme": SCHEMES.get(gateway, gateway), "method": given["method"], "url": given["url"], "query": given.get("query") or None,
        "headers": headers, "body_base64": base64.b64encode(body).decode(), "secret": secret,
        "algorithm": given.get("algorithm") or arguments.algorithm or ALGORITHMS.get(gateway), "at": at // 1000 if at > 10**11 else at,
    }


def main():
    parser = argparse.ArgumentParser(prog="tests/vendor_libraries/run", description="Signature vectors by the vendors' own libraries.")
    parser.add_argument("install", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help="compare with the committed files and write nothing")
    parser.add_argument("--ours", metavar="FILE", help="verify deliveries that smshook signed, one JSON object per line; - is standard input")
    parser.add_argument("--gateway", help="for --ours: the gateway of lines that name none")
    parser.add_argument("--secret-env", help="for --ours: the environment variable that holds the secret of lines that have none")
    parser.add_argument("--algorithm", help="for --ours: the algorithm of lines that name none")
    arguments = parser.parse_args()
    node = Node(arguments.install)
    if arguments.ours:
        return ours(node, arguments.ours, arguments)
    files = make(node)
    if arguments.check:
        return compare(files)
    VECTORS.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (VECTORS / name).write_text(text)


if __name__ == "__main__":
    main()
