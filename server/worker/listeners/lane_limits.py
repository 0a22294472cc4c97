"""The lane's bounds, from the settings: the same keys, in the units that kernels count in."""

from __future__ import annotations

from native.http2.lane import LaneLimits
from server.settings import LimitSettings

NS_PER_S = 10**9


def lane_limits(limits: LimitSettings) -> LaneLimits:
    return LaneLimits(
        connections_max=limits.connections_max,
        slots_max=limits.slots_max,
        streams_per_connection_max=limits.streams_per_connection_max,
        message_bytes_max=limits.message_bytes_max,
        header_bytes_max=limits.header_bytes_max,
        headers_max=limits.headers_max,
        reply_bytes_per_connection_max=limits.reply_bytes_per_connection_max,
        reply_bytes_max=limits.reply_bytes_max,
        assembling_bytes_per_connection_max=limits.assembling_bytes_per_connection_max,
        assembling_bytes_max=limits.assembling_bytes_max,
        resets_sent_max=limits.resets_sent_max,
        outbound_frames_max=limits.outbound_frames_max,
        empty_data_frames_max=limits.empty_data_frames_max,
        priority_frames_max=limits.priority_frames_max,
        settings_ack_timeout_ns=round(limits.settings_ack_timeout_s * NS_PER_S),
        stalled_timeout_ns=round(limits.stalled_timeout_s * NS_PER_S),
        connection_age_max_ns=round(limits.connection_age_max_s * NS_PER_S),
        handoffs_max=limits.handoffs_max,
    )
