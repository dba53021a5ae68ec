//! Why things end, are lost or are refused: each reason is listed once, with the label that metrics
//! use, and the HTTP status, close code or wire name that clients see.

use crate::record::codec::{Broken, Code, Reader, Writer};

/// Makes an enum whose variants each have one stable label.
macro_rules! labelled {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident => $label:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every variant, in the order of declaration; a variant's place is its `as usize`.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// How many variants there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The stable name, on the wire and as metric label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }

        impl Code for $name {
            fn put(&self, out: &mut Writer) {
                out.byte(*self as u8);
            }

            fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
                let variant = Self::ALL.get(usize::from(from.byte()?));
                variant.copied().ok_or(Broken("a reason is unknown"))
            }
        }
    };
}

labelled! {
    /// Why a WebSocket connection ended. The label is that of `ws_disconnects_total{reason}`.
    CloseReason {
        /// The client closed, or its TCP connection ended.
        Client => "client",
        /// The transport failed (reset, broken pipe).
        Transport => "transport",
        /// The server stopped without a drain (RFC 6455 7.4.1: going away).
        Stopped => "stopped",
        /// The client broke the WebSocket protocol.
        Protocol => "protocol_error",
        /// The client sent a binary message.
        Unsupported => "unsupported_data",
        /// A text message was not UTF-8.
        InvalidUtf8 => "invalid_utf8",
        /// A message was over `message_max_bytes`.
        TooBig => "message_too_big",
        /// The server is draining: come back after the goaway's delay.
        Draining => "draining",
        /// The server is out of room for this connection.
        Overload => "overload",
        /// Too slow: the cursor fell off the log, or no byte was accepted for `write_stall`.
        SlowConsumer => "slow_consumer",
        /// Nothing was heard for `idle_timeout`.
        Idle => "idle",
        /// `message_drops_max` messages in a row were over the rate.
        Flooding => "flooding",
        /// No token within `auth_timeout`, or one that is not accepted.
        Unauthorized => "unauthorized",
        /// The token expired, and no other was shown.
        Expired => "expired",
        /// The token was put on the list of revoked ones.
        Revoked => "revoked",
        /// A token of another subject than the one that the connection was authenticated for.
        Forbidden => "forbidden",
    }
}

impl CloseReason {
    /// The close code that the client sees (RFC 6455 7.4, and the 4000 range of `docs/PROTOCOL.md`).
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Client => 1000,
            Self::Stopped => 1001,
            Self::Protocol | Self::Transport => 1002,
            Self::Unsupported => 1003,
            Self::InvalidUtf8 => 1007,
            Self::TooBig => 1009,
            Self::Draining => 1012,
            Self::Overload => 1013,
            Self::Unauthorized | Self::Expired | Self::Revoked => 4001,
            Self::Forbidden => 4003,
            Self::SlowConsumer => 4008,
            Self::Idle => 4009,
            Self::Flooding => 4029,
        }
    }
}

labelled! {
    /// Why messages are missing, in a `lost` notice. The label is that of
    /// `ws_lost_messages_total{reason}`.
    LostReason {
        /// This client was too slow: the log moved on.
        SlowConsumer => "slow_consumer",
        /// The upstream discarded or deleted them before this server read them.
        Discarded => "discarded",
        /// The payload was over `payload_bytes_max`.
        TooLarge => "too_large",
        /// The channel would be one more than `channels_max`.
        ChannelLimit => "channel_limit",
        /// The subject is no channel name of this server.
        InvalidSubject => "invalid_subject",
        /// The upstream connection was interrupted, and the source keeps no history.
        Reconnected => "reconnected",
        /// The queue from the Feed to the shards was full, and the source cannot be made to wait.
        Overload => "overload",
    }
}

labelled! {
    /// Why all positions became void, in a `reset` notice.
    ResetReason {
        /// The source became ready after clients had subscribed without an epoch.
        SourceReady => "source_ready",
        /// The stream was deleted and made again.
        StreamRecreated => "stream_recreated",
        /// The stream went back to an earlier state.
        StreamRolledBack => "stream_rolled_back",
    }
}

labelled! {
    /// Why a resume did not recover a position.
    UnrecoveredReason {
        /// Messages after the position are no longer kept, or cannot be proven to be all there.
        TooOld => "too_old",
        /// The position belongs to another number line.
        EpochChanged => "epoch_changed",
        /// The position is after the last message of this number line.
        AheadOfLog => "ahead_of_log",
        /// The source is not connected.
        UpstreamUnavailable => "upstream_unavailable",
        /// The token does not allow the channel, which is not subscribed either.
        Forbidden => "forbidden",
    }
}

labelled! {
    /// Why an upgrade was refused. The label is that of `ws_connections_rejected_total{reason}`.
    Refusal {
        /// `max_connections` are open.
        Capacity => "capacity",
        /// CPU over `cpu_refuse_percent` for long enough.
        Cpu => "cpu",
        /// Memory over `memory_refuse_percent`.
        Memory => "memory",
        /// More new connections a second than `accept_rate`.
        AcceptRate => "accept_rate",
        /// One address holds `ip_max_connections`.
        IpCapacity => "ip_capacity",
        /// One address is over `ip_accept_rate`.
        IpRate => "ip_rate",
        /// The server is draining.
        Draining => "draining",
    }
}

impl Refusal {
    /// The HTTP status of the answer; each also carries `Retry-After`.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::IpCapacity | Self::IpRate => 429,
            _ => 503,
        }
    }
}

labelled! {
    /// The stable code of an `error` message. The meaning of each is in `docs/PROTOCOL.md`.
    ErrorCode {
        /// The message is not JSON.
        InvalidJson => "INVALID_JSON",
        /// The message is JSON, but a field is missing, unknown or of the wrong type.
        InvalidRequest => "INVALID_REQUEST",
        /// The `type` is none of this protocol's.
        UnknownType => "UNKNOWN_TYPE",
        /// A channel name breaks the rules for names.
        InvalidChannel => "INVALID_CHANNEL",
        /// A pattern breaks the rules for patterns.
        InvalidPattern => "INVALID_PATTERN",
        /// The same name is subscribed already, or named twice.
        AlreadySubscribed => "ALREADY_SUBSCRIBED",
        /// A name or pattern meets another of this connection.
        SubscriptionOverlap => "SUBSCRIPTION_OVERLAP",
        /// There is no such subscription.
        NotSubscribed => "NOT_SUBSCRIBED",
        /// A resume gives a position for a channel that the request does not subscribe.
        InvalidResume => "INVALID_RESUME",
        /// More than `channels_per_connection`.
        TooManyChannels => "TOO_MANY_CHANNELS",
        /// More than `patterns_per_connection`.
        TooManyPatterns => "TOO_MANY_PATTERNS",
        /// More than `patterns_per_server` or `channels_max`.
        ServerLimit => "SERVER_LIMIT",
        /// More messages than `message_rate` allows; this one was dropped.
        RateLimitExceeded => "RATE_LIMIT_EXCEEDED",
        /// A replay of this channel is under way.
        ReplayInProgress => "REPLAY_IN_PROGRESS",
        /// This server has no authentication configured.
        AuthUnavailable => "AUTH_UNAVAILABLE",
        /// The connection is not authenticated yet, or a token is not accepted.
        Unauthorized => "UNAUTHORIZED",
        /// The token does not allow it.
        Forbidden => "FORBIDDEN",
    }
}

labelled! {
    /// Why a token is not accepted. The label is that of `ws_auth_failures_total{reason}`.
    TokenFault {
        /// More than one token was shown, or one where none can be read.
        Ambiguous => "ambiguous",
        /// It is longer than tokens may be.
        TooLong => "too_long",
        /// It is not three parts in base64url (RFC 7515 7.1), or header or claims are not a JSON object
        /// whose members have different names.
        Malformed => "malformed",
        /// Its header asks for what is not supported: a key of the token's own, an extension, another
        /// type.
        Header => "header",
        /// Its algorithm is `none`, unknown, or not that of the key it names.
        Algorithm => "algorithm",
        /// There is no key of its `kid`.
        UnknownKey => "unknown_key",
        /// The signature is wrong.
        Signature => "signature",
        /// A claim is missing or of the wrong type or range.
        Claims => "claims",
        /// It has expired.
        Expired => "expired",
        /// It is not valid yet.
        NotYetValid => "not_yet_valid",
        /// It is of another issuer.
        Issuer => "issuer",
        /// It is for another audience.
        Audience => "audience",
        /// It is on the list of revoked tokens.
        Revoked => "revoked",
    }
}
