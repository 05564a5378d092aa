#!/usr/bin/env python3
# The PyPI side of the vendor libraries: signs and verifies deliveries with them. It must not decide what is a good vector
# (vectors.py does), must not open a connection, and must not reimplement a scheme that a library of its vendor has: only
# FORMULAS, at the end, are ours, for gateways that have published none.

import base64
import contextlib
import datetime
import hashlib
import hmac
import json
import time
import urllib.parse
import warnings
from unittest import mock

import jwt
import messagebird.request_validator
import nacl.signing
import plivo.utils
import standardwebhooks.webhooks
import stripe
import svix.webhooks
import telnyx.lib.webhook_verification
import twilio.request_validator
import vonage.client
import vonage_http_client.auth
import vonage_jwt

# The keys here are fixed and known; a library's advice about their length is for real ones.
warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)


class Received:
    """What a delivery is to the functions below."""

    def __init__(self, delivery):
        self.method = delivery["method"]
        self.url = delivery["url"]
        self.query = delivery["query"]
        self.full = self.url if self.query is None else f"{self.url}?{self.query}"
        self.headers = {name.lower(): value for name, value in delivery["headers"].items()}
        self.bytes = base64.b64decode(delivery["body_base64"])
        self.secret = delivery["secret"]
        self.algorithm = delivery["algorithm"]
        self.at = delivery["at"]
        self.scheme = delivery.get("scheme")

    @property
    def body(self):
        return self.bytes.decode("utf-8")

    def parameters(self):
        """The top-level parameters, wherever they are: of a repeated name, the last, as in a dict."""
        if self.method == "GET":
            return dict(pairs(self.query or ""))
        if self.body.lstrip()[:1] == "{":
            return json.loads(self.body)
        return dict(pairs(self.body))


def pairs(text):
    return urllib.parse.parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))


class Fields(dict):
    """Form fields as a web framework hands them out, with every value of a repeated name."""

    def __init__(self, text):
        self.all = pairs(text)
        super().__init__(self.all)

    def getlist(self, name):
        return [value for other, value in self.all if other == name]


@contextlib.contextmanager
def clock(at):
    """The libraries read the clock themselves. A delivery brings the time at which it is checked."""

    class Then(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(at, tz)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(time, "time", lambda: float(at)))
        for module in (standardwebhooks.webhooks, jwt.api_jwt):
            stack.enter_context(mock.patch.object(module, "datetime", Then))
        yield


def bearer(header):
    return header[len("Bearer "):] if header is not None and header.startswith("Bearer ") else None


def verify_twilio(got):
    settings = got.headers.get(twilio.request_validator.SIGNATURE_SETTINGS_HEADER.lower())
    algorithm = twilio.request_validator.get_signature_algorithm(settings)
    parameters = got.body if "bodySHA256" in (got.query or "") else Fields(got.body)
    validator = twilio.request_validator.RequestValidator(got.secret)
    return validator.validate(got.full, parameters, got.headers.get("x-twilio-signature", ""), algorithm)


def verify_standardwebhooks(got):
    standardwebhooks.webhooks.Webhook(got.secret).verify(got.body, got.headers)
    return True


def verify_svix(got):
    svix.webhooks.Webhook(got.secret).verify(got.body, got.headers)
    return True


def verify_stripe(got):
    return stripe.WebhookSignature.verify_header(got.body, got.headers.get("stripe-signature"), got.secret, 300)


def verify_telnyx(got):
    telnyx.lib.webhook_verification.verify_webhook_signature(got.bytes, got.headers, got.secret)
    return True


def verify_plivo(got):
    nonce = got.headers.get("x-plivo-signature-v2-nonce", "")
    names = ["x-plivo-signature-v2", "x-plivo-signature-ma-v2"]
    return any(
        plivo.utils.validate_signature(got.full, nonce, got.headers[name], got.secret) for name in names if name in got.headers
    )


def verify_plivo_v3(got):
    nonce = got.headers.get("x-plivo-signature-v3-nonce", "")
    signature = got.headers.get("x-plivo-signature-v3", "")
    fields = Fields(got.body)
    parameters = {name: fields.getlist(name) if len(fields.getlist(name)) > 1 else fields[name] for name in fields}
    return plivo.utils.validate_v3_signature(got.method, got.full, nonce, got.secret, signature, parameters)


def verify_messagebird(got):
    validator = messagebird.request_validator.RequestValidator(got.secret)
    validator.validate_signature(got.headers.get("messagebird-signature-jwt"), got.full, got.bytes)
    return True


# Vonage's pages make the comparison of payload_hash a step of the receiver; the package has no function for it.
def verify_vonage_jwt(got):
    token = bearer(got.headers.get("authorization"))
    if token is None or not vonage_jwt.verify_signature(token, got.secret):
        return False
    claims = jwt.decode(token, options={"verify_signature": False})
    return claims.get("payload_hash") == hashlib.sha256(got.bytes).hexdigest()


def verify_pyjwt(got):
    token = bearer(got.headers.get("authorization"))
    if token is None:
        return False
    jwt.decode(token, got.secret, algorithms=["HS256"], audience=got.full, issuer="api.httpsms.com")
    return True


def vonage_method(algorithm):
    return (algorithm or "hmac-md5").removeprefix("hmac-")


def verify_vonage_http_client(got):
    method = vonage_method(got.algorithm)
    auth = vonage_http_client.auth.Auth(api_key="none", signature_secret=got.secret, signature_method=method)
    return auth.check_signature(got.parameters())


def vonage_3(secret, algorithm):
    method = None if algorithm == "md5-suffix" else vonage_method(algorithm)
    return vonage.client.Client(key="none", secret="none", signature_secret=secret, signature_method=method)


def verify_vonage(got):
    return vonage_3(got.secret, got.algorithm).check_signature(got.parameters())


VERIFIERS = {
    "twilio": verify_twilio,
    "standardwebhooks": verify_standardwebhooks,
    "svix": verify_svix,
    "stripe": verify_stripe,
    "telnyx": verify_telnyx,
    "plivo": verify_plivo,
    "plivo V3": verify_plivo_v3,
    "messagebird": verify_messagebird,
    "vonage-jwt": verify_vonage_jwt,
    "PyJWT": verify_pyjwt,
    "vonage-http-client": verify_vonage_http_client,
    "vonage": verify_vonage,
    "formula": lambda got: FORMULAS[got.scheme](got),
}


def verify(library, delivery):
    got = Received(delivery)
    with clock(got.at):
        try:
            return VERIFIERS[library](got) is True
        except (NameError, AttributeError):
            # A library refuses by raising; a mistake in this file must not look like that.
            raise
        except Exception:
            return False


def sign_twilio(secret, url, form, algorithm):
    return twilio.request_validator.RequestValidator(secret).compute_signature(url, Fields(form), algorithm)


def sign_vonage_sms(secret, parameters, algorithm):
    """The `sig` parameter. The old client knows the plain MD5 with the secret appended, the new one only the HMACs."""
    if algorithm == "md5-suffix":
        return vonage_3(secret, algorithm).signature(dict(parameters))
    method = vonage_method(algorithm)
    auth = vonage_http_client.auth.Auth(api_key="none", signature_secret=secret, signature_method=method)
    return auth.sign_params(dict(parameters))


def sign_svix(secret, message, at, body):
    then = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    return svix.webhooks.Webhook(secret).sign(message, then, body)


def sign_jwt(claims, secret, algorithm):
    return jwt.encode(claims, secret, algorithm=algorithm)


def sign_ed25519(seed, message):
    return nacl.signing.SigningKey(seed).sign(message).signature


def ed25519_public(seed):
    return bytes(nacl.signing.SigningKey(seed).verify_key)


# Gateways that have published no library. The same formulas are written a second time in libraries.mjs; a vector is kept
# only where the two agree. And what the libraries that only verify should be given, which they then judge.


def digest(algorithm, key, *pieces):
    return hmac.new(key if isinstance(key, bytes) else key.encode(), b"".join(pieces), algorithm)


def base64_of(data):
    return base64.b64encode(data).decode()


def fresh(got, sent, unit=1, tolerance=300):
    return sent is not None and sent.isdecimal() and abs(got.at - int(sent) / unit) <= tolerance


def smsgate(got):
    sent = got.headers.get("x-timestamp")
    return fresh(got, sent) and got.headers.get("x-signature") == hex_of_body_and_time(got.secret, got.bytes, sent)


def hex_of_body_and_time(secret, body, sent):
    return digest("sha256", secret, body, sent.encode()).hexdigest()


def textbee(got):
    signed = digest("sha256", got.secret, got.bytes).hexdigest()
    return got.headers.get("x-signature") in (signed, "sha256=" + signed)


def bird_signature(secret, sent, url, body):
    return base64_of(digest("sha256", secret, f"{sent}\n{url}\n".encode(), hashlib.sha256(body).digest()).digest())


def bird(got):
    sent = got.headers.get("messagebird-request-timestamp")
    signed = bird_signature(got.secret, sent, got.full, got.bytes)
    return fresh(got, sent, tolerance=86_400) and got.headers.get("messagebird-signature") == signed


def cymba(got):
    sent = got.headers.get("timestamp", "")
    signed = digest("sha256", got.secret, f"{sent}.".encode(), got.bytes).hexdigest()
    return fresh(got, sent, unit=1000) and got.headers.get("signature") == signed


def method_and_url(got):
    sent = got.headers.get("x-timestamp")
    signed = digest("sha256", got.secret, f"v1:{sent}|{got.method}|{got.full}|".encode(), got.bytes).hexdigest()
    return fresh(got, sent) and got.headers.get("x-signature") == signed


def dixa(got):
    pairs_of = dict(pair.partition("=")[::2] for pair in got.headers.get("x-dixa-signature", "").split(","))
    sent = pairs_of.get("t", "")
    signed = digest("sha256", bytes.fromhex(got.secret), f"{sent}.".encode(), got.bytes).hexdigest()
    return fresh(got, sent, unit=1000) and pairs_of.get("v1") == signed


def body_mac(header, algorithm, spell, key=lambda secret: secret.encode(), read=lambda value: value):
    def check(got):
        signed = spell(digest(algorithm, key(got.secret), got.bytes))
        return read(got.headers.get(header, "")) == signed

    return check


FORMULAS = {
    "smsgate": smsgate,
    "textbee": textbee,
    "bird": bird,
    "basic": lambda got: got.headers.get("authorization") == "Basic " + base64_of(got.secret.encode()),
    "bearer": lambda got: got.headers.get("authorization") == "Bearer " + got.secret,
    "header token": lambda got: got.headers.get("x-token") == got.secret,
    "query token": lambda got: dict(reversed(pairs(got.query or ""))).get("token") == got.secret,
    "body sha512": body_mac("x-signature", "sha512", lambda mac: "sha512=" + mac.hexdigest()),
    "body sha384": body_mac("x-signature", "sha384", lambda mac: base64_of(mac.digest())),
    "body sha1": body_mac("x-hub-signature", "sha1", lambda mac: "sha1=" + mac.hexdigest()),
    "body base64 key": body_mac("x-signature", "sha256", lambda mac: base64_of(mac.digest()), base64.b64decode),
    "body any case": body_mac("x-signature", "sha256", lambda mac: mac.hexdigest(), read=str.lower),
    "body list": lambda got: "sha256=" + digest("sha256", got.secret, got.bytes).hexdigest()
    in got.headers.get("x-signatures", "").split(","),
    "smsgw": body_mac("x-smsgw-signature", "sha256", lambda mac: mac.hexdigest()),
    "cymba": cymba,
    "method and url": method_and_url,
    "dixa": dixa,
}
