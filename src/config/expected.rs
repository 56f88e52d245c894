//! What each key must hold, in words: one text for a missing key, a wrong type and a bad value.

/// The words for a key's path (`route[3].amount` and `route[].amount` mean the same).
pub(super) fn expected(key: &str) -> &'static str {
    match general(key).as_str() {
        "server.listen" | "server.admin_listen" => {
            "an IP address and a port, such as \"127.0.0.1:8402\" (port 0 takes a free one)"
        }
        "server.realm" => {
            "the name of the protection space, such as \"api.example.com\": 1 to 255 visible ASCII characters without spaces, quotes, backslashes and bars"
        }
        "server.challenge_key_file" => "the path of a key file, which is made when absent",
        "local.key_file" => "the path of a key file, which is made when absent",
        "local.socket" | "server.handover_socket" => {
            "the path of a Unix socket, such as \"farebox.sock\", of at most 96 bytes with its folder"
        }
        "local.listen" => "an IP address and a port, such as \"127.0.0.1:8404\" (port 0 takes a free one)",
        "local.connections_max" => "a whole number, 1 to 65536",
        "server.admin_key_file" => "the path of the key file that permits actions of the admin API",
        "payee.key_file" => "the path of the key file that signs settle and close",
        "payee.kms" => {
            "\"aws:\" and a key id, alias or ARN, or \"gcp:projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N\", instead of payee.key_file"
        }
        "server.challenge_lifetime_s" => "seconds, 60 to 31536000",
        "server.drain_s" => "seconds, 0 to 3600",
        "server.takeover_wait_s" => "seconds, 1 to 7200",
        "voucher.need_voucher_wait_s" => "seconds, 1 to 3600",
        "upstream.connect_timeout_s" | "upstream.response_timeout_s" | "upstream.idle_timeout_s" => {
            "seconds, 1 to 86400"
        }
        "discovery.title" | "discovery.version" => "words of at most 200 bytes",
        "discovery.categories" => "at most 5 words of visible ASCII, such as \"compute\"",
        "discovery.homepage" | "discovery.api_reference" | "discovery.llms" => {
            "a URL, or a path that begins with /, of at most 200 bytes"
        }
        "discovery.upstream_document" => "a path of the upstream, such as \"/openapi.json\"",
        "sponsor.key_file" => "the path of the key file of the account that pays fees",
        "sponsor.gas_max" => "gas units, 100000 to 30000000",
        "sponsor.gas_price_max" => "10^-18 dollars for a unit of gas, above 0",
        "sponsor.valid_for_s_max" => "seconds, 1 to 3600",
        "sponsor.fee_max" | "sponsor.budget_per_payer_per_hour" | "sponsor.budget_per_hour" => {
            "an amount in base units above 0 and below 2^96: a string of decimal digits, such as \"100000\""
        }
        "stripe.secret_key_file" => "the path of a file with the secret key of the account, sk_... or rk_...",
        "stripe.network_id" => {
            "the id of a profile, such as \"profile_123\": 1 to 64 letters, digits and '_'"
        }
        "stripe.payment_method_types" => "a list of 1 to 16 kinds, such as [\"card\", \"link\"]",
        "stripe.currency" => "three lowercase letters, such as \"usd\"",
        "stripe.api_url" => {
            "a URL of https, or of http on this machine, without credentials, query and fragment"
        }
        "x402.facilitator_url" => {
            "a URL of https, or of http on this machine, without credentials, query and fragment"
        }
        "x402.origin" => {
            "a URL of https, or of http on this machine, without a path, such as \"https://api.example.com\""
        }
        "x402.chain_id" => "the chain's id, a whole number above 0",
        "x402.token_name" | "x402.token_version" => "a text of 1 to 64 bytes, such as \"USD Coin\" and \"2\"",
        "x402.decimals" => "a whole number, 0 to 36",
        "webhook.key_file" => "the path of the key file that signs what is sent",
        "upstream.url" | "webhook.url" | "chain.explorer_url" => {
            "a URL of http or https without credentials, query and fragment, such as \"http://127.0.0.1:9000\""
        }
        "chain.rpc" => "a list of 1 to 8 RPC URLs, such as [\"http://127.0.0.1:8545\"]",
        "chain.rpc_quorum" => "a whole number, 1 to the number of URLs in chain.rpc",
        "chain.heads" => "a URL of ws or wss, such as \"wss://rpc.example.com\"",
        "chain.confirm_blocks" => "blocks, 0 to 64",
        "chain.rpc[]" => "a URL of http or https, such as \"http://127.0.0.1:8545\"",
        "chain.id" => "the chain's id, a whole number above 0 (4217 is Tempo mainnet, 42431 its testnet)",
        "payee.address"
        | "payee.token"
        | "payee.operator"
        | "route[].tokens[].token"
        | "escrow.v1"
        | "escrow.v2"
        | "risk.deny[].payer"
        | "risk.deny[].signer"
        | "risk.allow[].payer"
        | "risk.allow[].signer"
        | "sponsor.fee_token"
        | "x402.payee"
        | "x402.token"
        | "settlement.fee_token" => {
            "a nonzero address: 0x and 40 hex digits, in lowercase or with a correct checksum"
        }
        "risk.deny[].channel" | "risk.allow[].channel" => "a channel id: 0x and 64 hex digits",
        "risk.deny[].until" | "risk.allow[].until" => "a time such as \"2027-01-01T00:00:00Z\", in quotes",
        "risk.deny[]" | "risk.allow[]" => "exactly one of payer, signer and channel, and perhaps until",
        "risk.deny" | "risk.allow" => {
            "a list of at most 100000 entries such as { payer = \"0x...\", until = \"2027-01-01T00:00:00Z\" }"
        }
        "risk.deposit_min"
        | "risk.unsettled_payer_max"
        | "risk.unsettled_total_max"
        | "settlement.amount_min"
        | "settlement.unsettled_max" => {
            "an amount in base units: a string of decimal digits, such as \"1000000\" (\"0\" is no limit)"
        }
        "risk.unsettled_basis" => "\"spent\" or \"accepted\"",
        "risk.unsettled_age_s_max" => "seconds, 0 to 3153600000 (0 is no limit)",
        "books.retention_days" => "days, 0 to 36500 (0 keeps for ever)",
        "books.journal_keep_days" => "days, 0 to 36500 (0 asks for none)",
        "books.journal_keep_frames" => "a whole number, 0 to 9007199254740992 (0 asks for none)",
        "books.outcome_age_s_max" => "seconds, 60 to 3153600000",
        "risk.vouchers_per_second_max" => "a whole number, 0 to 1000000 (0 is no limit)",
        "risk.voucher_burst_max" => "a whole number, 1 to 1000000",
        "settlement.age_s_max" | "settlement.idle_close_s" => "seconds, 0 to 3153600000 (0 is never)",
        "settlement.units_max" => "a whole number (0 is no reason)",
        "settlement.profit_percent_min" => "percent, 0 to 1000000",
        "settlement.gas_price_max" => "a price in 10^-18 dollars, 1 or more",
        "settlement.priority_fee" => "a price in 10^-18 dollars, 0 to settlement.gas_price_max",
        "settlement.batch_claims_max" => "a whole number, 1 to 32",
        "settlement.batch_gas_max" => "gas, 500000 to 30000000",
        "settlement.batches_in_flight_max" => "a whole number, 1 to 256",
        "voucher.delta_min" => "an amount in base units: a string of decimal digits, such as \"0\"",
        "route" => "at least one [[route]] with path, amount, unit and meter",
        "route[].path" => {
            "a path that is exact, such as \"/v1/chat\", or ends in \"/*\", such as \"/v1/*\": it starts with \"/\" and has no empty or dot segments, \"%\", \"?\", \"#\", \"\\\\\" or other \"*\""
        }
        "route[].methods" => "a list of HTTP methods in capitals, such as [\"GET\", \"POST\"], each once",
        "route[].amount"
        | "route[].suggested_deposit"
        | "route[].charge"
        | "route[].stripe"
        | "route[].x402"
        | "route[].tokens[].amount"
        | "route[].tokens[].suggested_deposit" => {
            "an amount in base units above 0 and below 2^96: a string of decimal digits, such as \"25\""
        }
        "route[].unit" => {
            "the name of one unit, such as \"llm_token\": 1 to 64 letters, digits, '_', '-' and '.'"
        }
        "route[].description" => {
            "words for people: 1 to 512 visible ASCII characters without quotes and backslashes"
        }
        "route[].transport" => "\"http\", \"websocket\" or \"mcp\"",
        "route[].meter" => {
            "\"request\", \"sse_event\", \"bytes\", \"openai_usage\", \"header\" or \"websocket_message\""
        }
        "route[].bytes_per_unit" | "route[].tokens_per_unit" | "route[].reserve_units" => {
            "a whole number, 1 to 1000000000"
        }
        "route[].input_weight" | "route[].output_weight" => "a whole number, 0 to 1000000000",
        "route[].units_header" => {
            "the name of a response header that holds the number of units, such as \"x-units\""
        }
        "route[].tokens" => {
            "a list of at most 16 entries such as { token = \"0x...\", amount = \"25\" }, each token once"
        }
        "route[].tokens[]" => "a table with token, amount and perhaps suggested_deposit",
        "route[].opaque" => {
            "a table of at most 16 texts with names of letters, digits, '_', '-' and '.', together at most 1024 bytes"
        }
        "server.previous_challenge_key_files" => "a list of at most 8 paths of key files that exist",
        "server.previous_challenge_key_files[]" => "the path of a key file that exists",
        "server.tls_cert_file" => "the path of a certificate chain in PEM, together with server.tls_key_file",
        "server.tls_key_file" => "the path of a private key in PEM, together with server.tls_cert_file",
        "server.trust_forwarded_headers"
        | "server.allow_plain_http"
        | "route[].bind_body"
        | "route[].free"
        | "route[].paid_empty_post"
        | "route[].sponsored"
        | "local.allow_remote"
        | "webhook.vouchers"
        | "ledger.allow_volatile" => "true or false",
        "ledger.kind" => "\"rocksdb\", or \"memory\" (tests only)",
        "ledger.path" => "the directory of the books, such as \"farebox-data\"",
        "limits.connections_max" => "a whole number, 1 to 1000000",
        "limits.request_head_bytes_max" => "bytes, 8192 to 1048576",
        "limits.request_head_timeout_s" | "limits.request_body_timeout_s" => "seconds, 1 to 3600",
        "limits.connections_per_address_max" => "a whole number, 0 to 1000000 (0 is no limit)",
        "limits.failures_per_minute_max" | "limits.requests_per_minute_max" => {
            "a whole number, 0 to 60000 (0 is no limit)"
        }
        "limits.failure_burst_max" | "limits.request_burst_max" => "a whole number, 1 to 60000",
        "limits.request_body_bytes_max" => "bytes, 0 to 1099511627776",
        "limits.shards" => "a whole number, 0 to 64 (0 takes half of the cores)",
        "limits.intake_max" => "a whole number, 1 to 1048576",
        "limits.batch_vouchers_max" => "a whole number, 1 to 8192",
        "limits.resident_bytes_max" => "bytes, 16777216 to 1099511627776",
        "limits.signer_tables_bytes_max" => "bytes, 1048576 to 1099511627776",
        "server" | "upstream" | "chain" | "payee" | "escrow" | "voucher" | "ledger" | "limits" | "risk"
        | "settlement" | "sponsor" | "books" | "webhook" | "stripe" | "x402" | "local" | "discovery" => {
            "a table of keys"
        }
        "route[]" => "a table with path, amount, unit and meter",
        _ => "a value of another type",
    }
}

/// The path with the numbers of list entries left out.
fn general(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    let mut inside = false;
    for character in key.chars() {
        inside = (inside || character == '[') && character != ']';
        if !inside || character == '[' {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_entries_do_not_matter() {
        assert_eq!(general("route[12].amount"), "route[].amount");
        assert_eq!(general("chain.rpc[0]"), "chain.rpc[]");
        assert_eq!(expected("route[12].meter"), expected("route[0].meter"));
        assert_eq!(expected("route[1].tokens[0].token"), expected("payee.token"));
    }
}
