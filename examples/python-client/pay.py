"""Buys something several times over one payment channel, and closes it: plain Python, the standard library and eth-account.

    python pay.py devnet.json http://127.0.0.1:8402/v1/quote [TIMES]

What a client does, step by step: it asks, is told the price (402), opens a channel with a signed transaction that the server
sends, and pays each further request with a voucher: a signature over the sum of everything so far. No voucher costs a fee.
"""

import base64
import json
import re
import secrets
import sys
import time
import urllib.error
import urllib.request

import rlp
from eth_abi import encode as abi_encode
from eth_account import Account
from eth_utils import keccak, to_bytes, to_checksum_address

ZERO = "0x" + "00" * 20
# The reserve's `open`; the token is moved without an approval.
OPEN = keccak(text="open(address,address,address,uint96,bytes32,address)")[:4]
DESCRIPTOR = ["address", "address", "address", "address", "bytes32", "address", "bytes32", "address", "uint256"]
GAS_MAX = 1_000_000
# An open transaction is good for so many seconds, and its nonce is forgotten then.
VALID_FOR_S = 25
ANSWER_WAIT_S = 60


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def rpc(url: str, method: str, *params):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=ANSWER_WAIT_S) as response:
        answer = json.load(response)
    if "error" in answer:
        raise RuntimeError(f"{method}: {answer['error']}")
    return answer["result"]


def ask(url: str, method: str, authorization: str | None = None):
    """The status, the headers and the body of a request."""
    headers = {"accept-payment": "tempo/session"}
    if authorization:
        headers["authorization"] = authorization
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_WAIT_S) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers, refusal.read()


class Challenge:
    """What the server asks for."""

    def __init__(self, header: str):
        self.words = dict(re.findall(r'(\w+)="([^"]*)"', header))
        self.request = json.loads(from_base64url(self.words["request"]))

    @classmethod
    def of(cls, headers) -> "Challenge":
        for header in headers.get_all("www-authenticate") or []:
            for text in re.split(r",\s*(?=Payment )", header):
                challenge = cls(text)
                words, details = challenge.words, challenge.request["methodDetails"]
                if (words["method"], words["intent"], details.get("sessionProtocol")) == ("tempo", "session", "v2"):
                    return challenge
        raise RuntimeError("the server does not ask for a session of protocol v2")


class Channel:
    """A payment channel of one payer."""

    def __init__(self, account, net: dict, challenge: Challenge):
        asked, details = challenge.request, challenge.request["methodDetails"]
        if (details["chainId"], asked["currency"].lower()) != (net["chainId"], net["token"].lower()):
            raise RuntimeError("the server asks for another chain or token than this client pays with")
        self.account, self.chain_id, self.escrow = account, details["chainId"], details["escrowContract"]
        self.token, self.payee = asked["currency"], asked["recipient"]
        self.operator = details.get("operator", ZERO)
        self.deposit, self.signed = int(asked["suggestedDeposit"]), 0
        self.salt = secrets.token_bytes(32)
        self._sign_open(net["rpcUrl"])

    def _sign_open(self, rpc_url: str):
        """Signs the transaction (type 0x76) that opens the channel; its hash is a part of the channel's id."""
        me = self.account.address
        terms = [self.payee, self.operator, self.token, self.deposit, self.salt, me]
        call = OPEN + abi_encode(["address", "address", "address", "uint96", "bytes32", "address"], terms)
        price = int(rpc(rpc_url, "eth_gasPrice"), 16)
        fields = [
            self.chain_id, price, price, GAS_MAX, [[to_bytes(hexstr=self.escrow), 0, call]], [],
            2**256 - 1, 0, int(time.time()) + VALID_FOR_S, b"", to_bytes(hexstr=self.token), b"", [],
        ]
        unsigned = b"\x76" + rlp.encode(fields)
        self.nonce_hash = keccak(unsigned + to_bytes(hexstr=me))
        signature = self.account.unsafe_sign_hash(keccak(unsigned)).signature
        self.transaction = b"\x76" + rlp.encode([*fields, bytes(signature)])
        identity = [me, self.payee, self.operator, self.token, self.salt, me, self.nonce_hash, self.escrow, self.chain_id]
        self.id = keccak(abi_encode(DESCRIPTOR, identity))

    def _descriptor(self) -> dict:
        me = self.account.address
        return {
            "payer": me, "payee": self.payee, "operator": self.operator, "token": self.token, "salt": "0x" + self.salt.hex(),
            "authorizedSigner": me, "expiringNonceHash": "0x" + self.nonce_hash.hex(),
        }

    def _voucher(self, action: str, amount: int) -> dict:
        """A voucher for everything so far. It is never lower than the one before."""
        self.signed = max(self.signed, amount)
        domain = {
            "name": "TIP20 Channel Reserve", "version": "1", "chainId": self.chain_id,
            "verifyingContract": to_checksum_address(self.escrow),
        }
        types = {"Voucher": [{"name": "channelId", "type": "bytes32"}, {"name": "cumulativeAmount", "type": "uint96"}]}
        message = {"channelId": self.id, "cumulativeAmount": self.signed}
        signature = self.account.sign_typed_data(domain, types, message).signature
        return {
            "action": action, "channelId": "0x" + self.id.hex(), "cumulativeAmount": str(self.signed),
            "signature": "0x" + bytes(signature).hex(), "descriptor": self._descriptor(),
        }

    def credential(self, challenge: Challenge, action: str, amount: int) -> str:
        payload = self._voucher(action, amount)
        if action == "open":
            payload |= {
                "type": "transaction", "transaction": "0x" + self.transaction.hex(),
                "authorizedSigner": self.account.address,
            }
        source = f"did:pkh:eip155:{self.chain_id}:{self.account.address}"
        text = json.dumps({"challenge": challenge.words, "payload": payload, "source": source})
        return "Payment " + base64url(text.encode())


def receipt(headers) -> dict:
    return json.loads(from_base64url(headers["payment-receipt"]))


def main(file: str, url: str, times: int) -> None:
    with open(file, encoding="utf-8") as text:
        net = json.load(text)
    account = Account.from_key(net["accounts"][1]["privateKey"])
    channel = None
    for number in range(1, times + 1):
        status, headers, body = ask(url, "GET")
        if status != 402:
            raise RuntimeError(f"found status {status}, expected 402: {body.decode()}")
        challenge = Challenge.of(headers)
        action = "voucher" if channel else "open"
        channel = channel or Channel(account, net, challenge)
        amount = channel.signed + int(challenge.request["amount"])
        status, headers, body = ask(url, "GET", channel.credential(challenge, action, amount))
        if status != 200:
            raise RuntimeError(f"found status {status}, expected 200: {body.decode()}")
        paid = receipt(headers)
        print(f"{number}: {body.decode().strip()} ({paid['spent']} base units so far)")
    _, headers, _ = ask(url, "GET")
    status, headers, body = ask(url, "POST", channel.credential(Challenge.of(headers), "close", channel.signed))
    if status >= 300:
        raise RuntimeError(f"found status {status}, expected the channel to be closed: {body.decode()}")
    print(f"channel 0x{channel.id.hex()} closed on chain in {receipt(headers)['txHash']}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) == 4 else 3)
