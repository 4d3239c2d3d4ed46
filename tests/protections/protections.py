"""PROTECTIONS: what holds each finding of docs/security.md, and the test that fails without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_CALLS: Final = "constellation/transport/calls"
_SETTOP: Final = "clients/python/constellation_settop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """A piece of the product, and how to take it out."""

    finding: str
    """The row of docs/security.md, such as "S1"."""
    name: str
    """What is taken out, in a few words."""
    file: str
    text: str
    """The code that protects; it is exactly once in the file."""
    without: str
    """What takes its place."""
    test: str
    """A test that passes, and must fail without the protection."""


PROTECTIONS: Final = (
    Protection(
        finding="S1",
        name="a shard checks the federation's signature",
        file="constellation/transport/services/publishing.py",
        text="self._verifier.check(header)",
        without="pass",
        test="tests/auth/test_signed_globals.py::test_a_shard_refuses_everybody_else",
    ),
    Protection(
        finding="S1",
        name="an older global state is not parsed",
        file="constellation/transport/services/publishing.py",
        text="if round_ <= self._find_current():",
        without="if False:",
        test="tests/transport/services/test_publishing.py::test_an_older_global_is_not_even_parsed",
    ),
    Protection(
        finding="S1",
        name="a device checks the signature of popular content",
        file=f"{_SETTOP}/network/global_keys.py",
        text="        if not _is_signed(popular, pinned):",
        without="        if False:",
        test="tests/clients/network/test_global_keys.py::test_nothing_of_a_list_can_be_changed",
    ),
    Protection(
        finding="S2",
        name="a device does not follow an absurd number",
        file=f"{_SETTOP}/network/rules.py",
        text="return expected_seq <= min(next_seq + MAX_SEQ_JUMP, MAX_SEQ)",
        without="return True",
        test="tests/clients/test_forged_deltas.py"
        "::test_a_device_whose_number_was_forged_syncs_again",
    ),
    Protection(
        finding="S2",
        name="a snapshot skips few numbers",
        file="constellation/core/ingest/cursors.py",
        text="is_near = delta.seq <= cursor.seq + MAX_SEQ_JUMP",
        without="is_near = True",
        test="tests/core/ingest/test_cursors.py",
    ),
    Protection(
        finding="S3",
        name="a shared pattern has the embedding of what it names",
        file="constellation/core/shared/pattern_sharing.py",
        text="if self._table.groups.min_members > 1:",
        without="if False:",
        test="tests/attacks/test_suite.py",
    ),
    Protection(
        finding="S3",
        name="a group has 2 K - 1 members",
        file="constellation/federated/floors.py",
        text="return 2 * k_anonymity - 1",
        without="return k_anonymity",
        test="tests/core/shared/test_pattern_sharing.py"
        "::test_patterns_of_too_few_devices_are_not_shown",
    ),
    Protection(
        finding="S3",
        name="a revision needs as many members that changed",
        file="constellation/core/shared/epochs.py",
        text="""is_due = floor.find_supported(
            owners[revised], self._find_origins(rows[revised]), len(groups)
        )""",
        without="is_due = np.bincount(owners[revised], minlength=len(groups)) > 0",
        test="tests/core/shared/test_promise.py::test_no_history_isolates_fewer_devices",
    ),
    Protection(
        finding="S4",
        name="a device has a budget for content ids",
        file="constellation/core/ingest/content_budget.py",
        text="fits = _has_room(distinct.devices, self._most - counts)",
        without="fits = np.ones(len(distinct.devices), bool)",
        test="tests/core/ingest/test_content_budget.py"
        "::test_a_device_that_makes_up_ten_thousand_ids_fills_only_its_budget",
    ),
    Protection(
        finding="S5",
        name="the connection of a call that does not end is closed",
        file=f"{_CALLS}/endings.py",
        text="connection.shutdown(socket.SHUT_RDWR)",
        without="pass",
        test="tests/transport/calls/test_endings.py"
        "::test_an_ended_call_is_gone_whatever_its_caller_reads",
    ),
    Protection(
        finding="S5",
        name="probes have a server of their own",
        file="constellation/transport/listener.py",
        text="""probe = make_server(limits, calls, verifier, endings=endings)
        _serve_health(probe, health)
        probe_port = bind(probe, config.probe_addr, "PROBE_ADDR")
        servers.append(probe)""",
        without='probe_port = bind(main, config.probe_addr, "PROBE_ADDR")',
        test="tests/transport/health/test_probes.py"
        "::test_probes_are_answered_while_every_call_is_taken",
    ),
    Protection(
        finding="S5",
        name="connections end",
        file="constellation/shard_process.py",
        text="connection_seconds=config.stream_seconds * _CONNECTION_SHARE,",
        without="connection_seconds=3600.0,",
        test="tests/transport/health/test_probes.py"
        "::test_a_call_whose_caller_does_not_read_ends_with_its_connection",
    ),
    Protection(
        finding="S6",
        name="a page of the catalogue is short",
        file="constellation/transport/services/shard.py",
        text="_MAX_CONTENT_PAGE_SIZE: Final = 250",
        without="_MAX_CONTENT_PAGE_SIZE: Final = 4096",
        test="tests/transport/test_message_cost.py::test_no_small_message_holds_the_loop_for_long",
    ),
    Protection(
        finding="S6",
        name="no message is compressed",
        file="constellation/transport/servers.py",
        text='("grpc.compression_enabled_algorithms_bitset", 1),',
        without="",
        test="tests/transport/test_abuse.py"
        "::test_a_compressed_message_is_refused_before_it_is_decoded",
    ),
    Protection(
        finding="S7",
        name="the counts behind trends have a budget",
        file="constellation/core/ingest/signals.py",
        text="if counts and not self._has_memory(hour, content):",
        without="if False:",
        test="tests/core/ingest/test_signals.py"
        "::test_signals_beyond_the_memory_of_the_ring_are_dropped",
    ),
    Protection(
        finding="S8",
        name="a method asks for a role",
        file=f"{_CALLS}/authorization.py",
        text="if not caller.roles & roles:",
        without="if False:",
        test="tests/auth/test_matrix.py::test_the_matrix_of_a_shard",
    ),
    Protection(
        finding="S8",
        name="a device acts in its own name",
        file="constellation/auth/principal.py",
        text="if caller is not ANYBODY and caller.subject != device_id.hex():",
        without="if False:",
        test="tests/auth/test_matrix.py::test_a_device_acts_in_its_own_name_only",
    ),
    Protection(
        finding="S9",
        name="new devices of an address are counted",
        file="constellation/transport/sync/greeting.py",
        text="self.guard.count_new_device(call_origin)",
        without="pass",
        test="tests/transport/sync/test_origin_limits.py"
        "::test_one_address_cannot_fill_a_shard_with_made_up_devices",
    ),
    Protection(
        finding="S9",
        name="a device counts once it has proved itself",
        file="constellation/core/table/standing.py",
        text='counts = (is_proven | (rows["first_day"] == 0)) & (rows["quarantined"] == 0)',
        without='counts = rows["quarantined"] == 0',
        test="tests/core/table/test_standing.py"
        "::test_a_device_counts_once_it_is_old_enough_and_was_active",
    ),
    Protection(
        finding="S10",
        name="a device checks the numbers of an ack",
        file=f"{_SETTOP}/network/rules.py",
        text="    if seq >= MAX_SEQ:",
        without="    if False:",
        test="tests/clients/network/test_hostile_shard.py"
        "::test_a_broken_session_ends_with_a_reason_and_the_next_one_works",
    ),
    Protection(
        finding="S10",
        name="a redirect gets no credential in clear text",
        file=f"{_SETTOP}/network/route.py",
        text="if outcome.address and is_exposed(outcome.address, self._settings):",
        without="if False:",
        test="tests/clients/network/test_route.py::test_a_credential_is_never_sent_in_clear_text",
    ),
    Protection(
        finding="S11",
        name="devices take turns in the inbox",
        file="constellation/core/ingest/inbox.py",
        text="while queue and of_device < DEVICE_CHANGES and len(taken) < GROUP_DELTAS:",
        without="while queue and len(taken) < GROUP_DELTAS:",
        test="tests/core/ingest/test_inbox.py::test_a_device_that_sends_much_waits_for_itself",
    ),
    Protection(
        finding="S11",
        name="each caller has a budget of its own",
        file=f"{_CALLS}/budgets.py",
        text="budget = self._find(caller.subject)",
        without='budget = self._find("")',
        test="tests/transport/calls/test_budgets.py::test_others_do_not_wait_for_a_greedy_caller",
    ),
    Protection(
        finding="S11",
        name="the calls of a caller run one after another",
        file=f"{_CALLS}/budgets.py",
        text="self.turn = asyncio.Lock()",
        without="self.turn = asyncio.Semaphore(64)",
        test="tests/transport/calls/test_budgets.py"
        "::test_the_calls_of_one_caller_run_one_after_another",
    ),
    Protection(
        finding="S11",
        name="a refusal comes late",
        file=f"{_CALLS}/budgets.py",
        text="            await asyncio.sleep(REFUSAL_SECONDS)",
        without="            pass",
        test="tests/transport/calls/test_budgets.py::test_who_tries_again_at_once_is_no_faster",
    ),
    Protection(
        finding="S12",
        name="all who ask share the round that waits",
        file="federation/requested_rounds.py",
        text="if self._waiting is None:",
        without="if True:",
        test="tests/federation/test_requested_rounds.py"
        "::test_all_who_ask_before_a_round_begins_share_it_even_if_some_go_away",
    ),
    Protection(
        finding="S13",
        name="the inbox is bounded in bytes",
        file="constellation/core/ingest/inbox.py",
        text="if self._count >= MAX_WAITING_DELTAS or self._bytes >= MAX_WAITING_BYTES:",
        without="if self._count >= MAX_WAITING_DELTAS:",
        test="tests/core/ingest/test_inbox.py::test_large_deltas_fill_an_inbox_before_many_do",
    ),
    Protection(
        finding="S13",
        name="who waits for room looks again",
        file="constellation/core/ingest/inbox.py",
        text="""while self.is_full:
            await self._room.wait()""",
        without="await self._room.wait()",
        test="tests/core/ingest/test_inbox.py"
        "::test_callers_that_wait_for_room_do_not_fill_it_beyond_its_limit",
    ),
    Protection(
        finding="S14",
        name="the catalogue has a limit",
        file="constellation/core/table/catalogue.py",
        text="if self.count + len(distinct) - len(replaced) > self._max_contents:",
        without="if False:",
        test="tests/core/table/test_catalogue.py"
        "::test_a_catalogue_has_a_limit_that_replacements_keep",
    ),
    Protection(
        finding="S15",
        name="the connection of REST that waited longest makes room",
        file="constellation/transport/rest/connections.py",
        text="if len(self._waiting) >= self._limit:",
        without="if False:",
        test="tests/transport/rest/test_connections.py"
        "::test_probes_are_answered_beside_any_number_of_silent_connections",
    ),
    Protection(
        finding="S15",
        name="the oldest connection of the metrics makes room",
        file="constellation/telemetry/scrape_server.py",
        text="if oldest is not None and len(self._opened_at) >= self.max_connections:",
        without="if False:",
        test="tests/telemetry/test_scrape_server.py"
        "::test_a_scrape_is_answered_beside_any_number_of_silent_connections",
    ),
    Protection(
        finding="S16",
        name="control characters are shown",
        file="constellation/cli/printing.py",
        text="return _CONTROLS.sub(_escape_control, text)",
        without="return text",
        test="tests/commands/test_hostile_texts.py"
        "::test_what_people_read_has_no_control_characters",
    ),
    Protection(
        finding="S17",
        name="a connection has few calls",
        file="constellation/transport/servers.py",
        text="options[_STREAMS_OPTION] = self.streams_per_connection",
        without="options.pop(_STREAMS_OPTION)",
        test="tests/transport/test_servers.py"
        "::test_calls_are_answered_beside_one_who_opens_and_resets_calls",
    ),
    Protection(
        finding="S17",
        name="Envoy takes the calls of a connection one by one",
        file="deploy/envoy/envoy.yaml",
        text="""
      http.max_requests_per_io_cycle: 1
      overload.premature_reset_total_stream_count: 20
      overload.premature_reset_min_stream_lifetime_seconds: 1
""",
        without="\n",
        test="tests/deploy/test_envoy_strangers.py"
        "::test_calls_are_answered_beside_one_who_opens_and_resets_calls",
    ),
    Protection(
        finding="S18",
        name="errors of gRPC's own services are mapped",
        file="constellation/transport/servers.py",
        text="standard=checking)",
        without="standard=[])",
        test="tests/transport/test_bad_input.py::test_what_is_no_message_is_invalid_and_no_crash",
    ),
    Protection(
        finding="S19",
        name="a snapshot of the index has a code",
        file="constellation/storage/snapshots.py",
        text="if not hmac.compare_digest(code, self._compute_code(lsn, body)):",
        without="if False:",
        test="tests/core/test_recovery.py::test_a_start_takes_no_changed_snapshot",
    ),
    Protection(
        finding="S19",
        name="the code is under the shard's secret",
        file="constellation/storage/snapshots.py",
        text="blake2b(key=self._secret,",
        without='blake2b(key=b"",',
        test="tests/storage/test_snapshots.py::test_a_snapshot_of_another_shard_is_refused_by_name",
    ),
    Protection(
        finding="S20",
        name="nothing unpickles",
        file="constellation/storage/snapshots.py",
        text="import hmac\n",
        without="import hmac\nimport pickle\n",
        test="tests/test_no_pickle.py::test_the_product_unpickles_and_evaluates_nothing",
    ),
    Protection(
        finding="S20",
        name="a secret that others may read is refused",
        file="constellation/auth/files.py",
        text="if stat.S_ISREG(found.st_mode) and mode & forbidden:",
        without="if False:",
        test="tests/auth/test_files.py::test_every_kind_of_secret_is_looked_at",
    ),
    Protection(
        finding="S21",
        name="the next hour counts as the present one",
        file="constellation/core/ingest/signals.py",
        text="return self._now_hour if hour == self._now_hour + 1 else hour",
        without="return hour",
        test="tests/core/ingest/test_plan.py"
        "::test_a_signal_of_the_next_hour_counts_now_and_ends_no_hour",
    ),
    Protection(
        finding="S22",
        name="the status is the last frame of a stream",
        file=f"{_CALLS}/status.py",
        text="if make_frame is not None:",
        without="if False:",
        test="tests/transport/sync/test_last_frames.py"
        "::test_a_frame_that_ends_a_stream_is_explained",
    ),
    Protection(
        finding="S22",
        name="a global state that is refused is read to its end",
        file=f"{_CALLS}/status.py",
        text="await self._read_to_end(request)",
        without="pass",
        test="tests/transport/services/test_publishing.py"
        "::test_a_federation_that_is_still_writing_learns_why_its_global_is_refused",
    ),
    Protection(
        finding="S22",
        name="a device believes the last frame, and not gRPC's status",
        file=f"{_SETTOP}/network/transports.py",
        text="if isinstance(failure, grpc.aio.AioRpcError) and session.failure is not None:",
        without="if False:",
        test="tests/clients/network/test_transports.py"
        "::test_a_device_believes_the_last_frame_and_not_the_status_after_it",
    ),
)
