//! The npm side of the vendor libraries: signs and verifies deliveries with them, one JSON request per line of standard
//! input, one JSON answer per line of standard output. It must not decide what is a good vector (vectors.py does), must not
//! open a connection, and must not reimplement a scheme that a library of its vendor has: only `formulas`, at the end, are
//! ours, for gateways that have published none.
//!
//! It is run from the folder that holds node_modules (see `run`), so that the imports find the packages.

import crypto from 'node:crypto';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

// The libraries read the clock themselves. A delivery brings the time at which it is checked.
const RealDate = Date;
let clock = null;
globalThis.Date = class extends RealDate {
  constructor(...given) {
    if (given.length === 0 && clock !== null) super(clock);
    else super(...given);
  }
  static now() {
    return clock ?? RealDate.now();
  }
};

const require = createRequire(import.meta.url);
const octokit = await import('@octokit/webhooks-methods');
const sinch = require('@sinch/sms');
const vonage = require('@vonage/jwt');
const jsonwebtoken = require('jsonwebtoken');
const messagebird = require('messagebird/lib/webhook-signature-jwt');
const plivo = require('plivo');
const standardwebhooks = require('standardwebhooks');
const Stripe = require('stripe');
const svix = require('svix');
const Telnyx = require('telnyx');
const twilio = require('twilio/lib/webhooks/webhooks');

const stripe = new (Stripe.default ?? Stripe)('sk_test_none');

/// What a delivery is to the functions below.
function received(delivery) {
  const headers = Object.fromEntries(Object.entries(delivery.headers).map(([name, value]) => [name.toLowerCase(), value]));
  const bytes = Buffer.from(delivery.body_base64, 'base64');
  return {
    ...delivery,
    bytes,
    body: bytes.toString('utf8'),
    headers,
    full: delivery.query === null ? delivery.url : `${delivery.url}?${delivery.query}`,
  };
}

/// Form fields as a web framework hands them out: a repeated name has a list.
function fields(text) {
  const all = {};
  for (const [name, value] of new URLSearchParams(text)) {
    if (!(name in all)) all[name] = value;
    else all[name] = [all[name], value].flat();
  }
  return all;
}

function bearer(header) {
  return header?.startsWith('Bearer ') ? header.slice('Bearer '.length) : null;
}

function sha256(bytes, spelling) {
  return crypto.createHash('sha256').update(bytes).digest(spelling);
}

const verifiers = {
  async '@octokit/webhooks-methods'(got) {
    const names = ['x-mac-signature', 'x-webhook-signature', 'x-signature', 'x-hub-signature-256', 'x-signature-256'];
    const header = names.map((name) => got.headers[name]).find((value) => value !== undefined);
    return header !== undefined && octokit.verify(got.secret, got.body, header);
  },

  twilio(got) {
    const json = /^\s*[[{]/.test(got.body);
    const request = {
      header: (name) => got.headers[name.toLowerCase()],
      body: json ? JSON.parse(got.body) : fields(got.body),
      rawBody: got.body,
    };
    return twilio.validateIncomingRequest(request, got.secret, { url: got.full });
  },

  standardwebhooks(got) {
    new standardwebhooks.Webhook(got.secret).verify(got.body, got.headers);
    return true;
  },

  svix(got) {
    new svix.Webhook(got.secret).verify(got.body, got.headers);
    return true;
  },

  stripe(got) {
    stripe.webhooks.constructEvent(got.body, got.headers['stripe-signature'], got.secret, 300);
    return true;
  },

  async telnyx(got) {
    const client = new (Telnyx.default ?? Telnyx)({ apiKey: 'none', publicKey: got.secret });
    await client.webhooks.unwrap(got.body, { headers: got.headers });
    return true;
  },

  plivo(got) {
    const nonce = got.headers['x-plivo-signature-v2-nonce'] ?? '';
    return ['x-plivo-signature-v2', 'x-plivo-signature-ma-v2']
      .filter((name) => name in got.headers)
      .some((name) => plivo.validateSignature(got.full, nonce, got.headers[name], got.secret));
  },

  'plivo V3'(got) {
    const nonce = got.headers['x-plivo-signature-v3-nonce'] ?? '';
    const signature = got.headers['x-plivo-signature-v3'] ?? '';
    return plivo.validateV3Signature(got.method, got.full, nonce, got.secret, signature, fields(got.body));
  },

  '@sinch/sms'(got) {
    return new sinch.SmsCallbackWebhooks(got.secret).validateAuthenticationHeader(got.headers, got.body, '', got.method);
  },

  async messagebird(got) {
    const key = crypto.createSecretKey(Buffer.from(got.secret, 'utf8'));
    await messagebird.verify(got.full, got.bytes, got.headers['messagebird-signature-jwt'] ?? '', key);
    return true;
  },

  // Vonage's pages make the comparison of payload_hash a step of the receiver; the package has no function for it.
  '@vonage/jwt'(got) {
    const token = bearer(got.headers.authorization);
    if (token === null || !vonage.verifySignature(token, got.secret)) return false;
    const hash = jsonwebtoken.decode(token)?.payload_hash;
    return hash === sha256(got.bytes, 'hex');
  },

  jsonwebtoken(got) {
    const token = bearer(got.headers.authorization);
    const wanted = { algorithms: ['HS256'], audience: got.full, issuer: 'api.httpsms.com' };
    return token !== null && Boolean(jsonwebtoken.verify(token, got.secret, wanted));
  },

  formula(got) {
    return formulas[got.scheme](got);
  },
};

const signers = {
  '@octokit/webhooks-methods': (order) => octokit.sign(order.secret, order.body),
  twilio: (order) => twilio.getExpectedTwilioSignature(order.secret, order.url, fields(order.form)),
  'twilio body hash': (order) => twilio.getExpectedBodyHash(order.body),
  standardwebhooks: (order) =>
    new standardwebhooks.Webhook(order.secret).sign(order.id, new RealDate(order.at * 1000), order.body),
  svix: (order) => new svix.Webhook(order.secret).sign(order.id, new RealDate(order.at * 1000), order.body),
  stripe: (order) =>
    stripe.webhooks.generateTestHeaderString({
      payload: order.body,
      secret: order.secret,
      timestamp: order.at,
      scheme: order.scheme,
    }),
  jsonwebtoken: (order) =>
    jsonwebtoken.sign(order.claims, order.secret, {
      algorithm: order.algorithm,
      // Without it a time of issue is made up; with it, one that is given is taken out.
      noTimestamp: !('iat' in order.claims),
      ...(order.header ? { header: order.header } : {}),
    }),
  'messagebird reference': () => require('messagebird/lib/testdata/webhook-signature-jwt-reference.json'),
};

// Gateways that have published no library. The same formulas are written a second time in libraries.py; a vector is kept
// only where the two agree.

function hmac(algorithm, key, spelling, ...pieces) {
  const mac = crypto.createHmac(algorithm, key);
  for (const piece of pieces) mac.update(piece);
  return mac.digest(spelling);
}

function fresh(got, timestamp, { unit = 1, tolerance = 300 } = {}) {
  return /^\d+$/.test(timestamp ?? '') && Math.abs(got.at - Number(timestamp) / unit) <= tolerance;
}

const formulas = {
  smsgate(got) {
    const sent = got.headers['x-timestamp'];
    return fresh(got, sent) && got.headers['x-signature'] === hmac('sha256', got.secret, 'hex', got.bytes, sent);
  },
  textbee(got) {
    const digest = hmac('sha256', got.secret, 'hex', got.bytes);
    return [digest, `sha256=${digest}`].includes(got.headers['x-signature']);
  },
  bird(got) {
    const sent = got.headers['messagebird-request-timestamp'];
    const signed = hmac('sha256', got.secret, 'base64', `${sent}\n${got.full}\n`, sha256(got.bytes));
    return fresh(got, sent, { tolerance: 86_400 }) && got.headers['messagebird-signature'] === signed;
  },
  basic: (got) => got.headers.authorization === `Basic ${Buffer.from(got.secret, 'utf8').toString('base64')}`,
  bearer: (got) => got.headers.authorization === `Bearer ${got.secret}`,
  'header token': (got) => got.headers['x-token'] === got.secret,
  'query token': (got) => new URLSearchParams(got.query ?? '').get('token') === got.secret,
  'body sha512': (got) => got.headers['x-signature'] === `sha512=${hmac('sha512', got.secret, 'hex', got.bytes)}`,
  'body sha384': (got) => got.headers['x-signature'] === hmac('sha384', got.secret, 'base64', got.bytes),
  'body sha1': (got) => got.headers['x-hub-signature'] === `sha1=${hmac('sha1', got.secret, 'hex', got.bytes)}`,
  'body base64 key': (got) =>
    got.headers['x-signature'] === hmac('sha256', Buffer.from(got.secret, 'base64'), 'base64', got.bytes),
  'body any case': (got) => got.headers['x-signature']?.toLowerCase() === hmac('sha256', got.secret, 'hex', got.bytes),
  'body list': (got) =>
    (got.headers['x-signatures'] ?? '').split(',').includes(`sha256=${hmac('sha256', got.secret, 'hex', got.bytes)}`),
  smsgw: (got) => got.headers['x-smsgw-signature'] === hmac('sha256', got.secret, 'hex', got.bytes),
  cymba(got) {
    const sent = got.headers.timestamp;
    return fresh(got, sent, { unit: 1000 }) && got.headers.signature === hmac('sha256', got.secret, 'hex', `${sent}.`, got.bytes);
  },
  'method and url'(got) {
    const sent = got.headers['x-timestamp'];
    const signed = hmac('sha256', got.secret, 'hex', `v1:${sent}|${got.method}|${got.full}|`, got.bytes);
    return fresh(got, sent) && got.headers['x-signature'] === signed;
  },
  dixa(got) {
    const pairs = Object.fromEntries((got.headers['x-dixa-signature'] ?? '').split(',').map((pair) => pair.split('=')));
    const signed = hmac('sha256', Buffer.from(got.secret, 'hex'), 'hex', `${pairs.t}.`, got.bytes);
    return fresh(got, pairs.t, { unit: 1000 }) && pairs.v1 === signed;
  },
};

async function answer(request) {
  if (request.do === 'sign') return signers[request.library](request.order);
  const got = received(request.delivery);
  clock = got.at * 1000;
  try {
    return (await verifiers[request.library](got)) === true;
  } catch (refused) {
    // A library refuses by throwing; a mistake in this file must not look like that.
    if (refused instanceof ReferenceError || /is not a function/.test(refused.message)) throw refused;
    return false;
  } finally {
    clock = null;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  let reply;
  try {
    reply = { answer: (await answer(JSON.parse(line))) ?? null };
  } catch (failed) {
    reply = { failed: String(failed?.stack ?? failed) };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
