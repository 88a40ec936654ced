"""The protections that the tests of races are about, and how each is removed to see its tests fail."""

from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Cut:
    """A text that is in the file once, and the text that is there without the protection."""

    file: str
    text: str
    instead: str

    def make(self, checkout: Path) -> None:
        """Cut the text out of the file in this checkout. Raises ValueError if the text is not in the file once."""
        path = checkout / self.file
        source = path.read_text(encoding="utf-8")
        if source.count(self.text) != 1:
            raise ValueError(f"{self.file} has {source.count(self.text)} times: {self.text}")
        path.write_text(source.replace(self.text, self.instead), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Protection:
    """How a protection is removed, and the tests that fail then, by file. Several cuts: each protects alone as well."""

    cuts: tuple[Cut, ...]
    tests: dict[str, tuple[str, ...]]


MONEY = "src/lapse/orders/money.py"
DECISIONS = "src/lapse/orders/decisions.py"
LATE_MONEY = "src/lapse/orders/late_money.py"
TRANSITION = "src/lapse/orders/transition.py"
RECONCILING = "src/lapse/orders/reconciling.py"
REOPENING = "src/lapse/orders/reopening.py"
EXTENDING = "src/lapse/orders/extending.py"
REVIVING = "src/lapse/orders/reviving.py"
CALLS = "src/lapse/orders/calls.py"
CLOSING = "src/lapse/orders/closing.py"
ATTEMPT_ROWS = "src/lapse/integrations/django/rows/attempts.py"

NOTIFIES = "tests/races/test_notifies.py"
LATE = "tests/races/test_late_money.py"
TEST_DECISIONS = "tests/races/test_decisions.py"
LAPSING = "tests/races/test_paying_and_lapsing.py"
TEST_CALLS = "tests/orders/test_calls.py"
TEST_CLOSING = "tests/orders/test_closing.py"
MORE_TIME = "tests/races/test_more_time.py"
TEST_REOPENING = "tests/orders/test_reopening.py"

COMMIT = '__import__("django.db").db.connections["wirings"].connection.commit()'
"""Ends the transaction in the middle of it. Django goes on in another one."""
SHOPS_COMMIT = COMMIT.replace("wirings", "default")

PAY = "            self._shop.on_paid(order, after)\n"
FINAL = "    if record.state is AttemptState.REFUNDED:\n        return Booking(record)\n    paid = record.amount if"

PROTECTIONS = {
    "the order's lock, when money is booked": Protection(
        (
            Cut(
                MONEY,
                "orders = self._rows.lock([key], Which.ALL, wait=True)",
                "orders = list(self._rows.rows().filter(pk=key))",
            ),
        ),
        {
            NOTIFIES: (
                "test_r5_the_same_notify_twice_at_once",
                "test_r14_two_attempts_of_one_order_are_paid_at_once",
            ),
            LAPSING: ("test_r2_a_notify_while_step_three_books_the_same_money",),
        },
    ),
    "every lock of an order's row": Protection(
        (
            Cut(
                "src/lapse/integrations/django/rows/row_locks.py",
                '.order_by("pk").select_for_update(skip_locked=skip)',
                '.order_by("pk")',
            ),
        ),
        {LAPSING: ("test_r15_buyer_merchant_timer_and_notify_at_once",)},
    ),
    "one transaction for all that a notify books": Protection(
        (Cut(MONEY, PAY, f"{PAY}            {COMMIT}\n"),),
        {NOTIFIES: ("test_r8_r20_killed_while_a_notify_is_booked[store]",)},
    ),
    "money that was counted is not counted again": Protection(
        (Cut(LATE_MONEY, "    if record.state.has_money:\n", "    if False:\n"),),
        {
            NOTIFIES: (
                "test_r8_r20_killed_while_a_notify_is_booked[receive]",
                "test_r5_the_same_notify_twice_at_once",
            ),
        },
    ),
    "a payment's number is unique": Protection(
        (
            Cut(
                ATTEMPT_ROWS,
                "        except IntegrityError:\n            return False",
                "        except IntegrityError:\n            return True",
            ),
        ),
        {NOTIFIES: ("test_r14_one_payment_is_reported_for_two_orders_at_once",)},
    ),
    "the number is stored in the transaction that books": Protection(
        (
            Cut(
                ATTEMPT_ROWS,
                "        return True\n\n    def ask_now",
                f"        {COMMIT}\n        return True\n\n    def ask_now",
            ),
        ),
        {NOTIFIES: ("test_r14_a_number_is_free_again_if_its_transaction_fails",)},
    ),
    "a refund is final, and what was refunded only grows": Protection(
        (
            Cut(LATE_MONEY, FINAL, "    paid = record.amount if"),
            Cut(LATE_MONEY, "max(record.refunded, ruling.refunded or NOTHING)", "ruling.refunded or NOTHING"),
        ),
        {NOTIFIES: ("test_m3_the_refund_and_the_success_at_once[True]",)},
    ),
    "only a refund is final": Protection(
        (
            Cut(
                LATE_MONEY,
                FINAL,
                FINAL.replace("is AttemptState.REFUNDED", "in (AttemptState.REFUNDED, AttemptState.CLOSED)"),
            ),
        ),
        {LATE: ("test_r27_money_for_an_order_of_last_year",)},
    ),
    "step three reads the locked order again": Protection(
        (
            Cut(
                TRANSITION,
                "elif results[key].outcome is Outcome.LOCKED:",
                "elif results[key].outcome in (Outcome.LOCKED, Outcome.NOT_UNPAID):",
            ),
        ),
        {LAPSING: ("test_r2_a_notify_while_the_gateway_closes",)},
    ),
    "a payment that step three found waits for the row": Protection(
        (Cut(TRANSITION, "parts = [([key], True) for key in paid]", "parts = [([key], False) for key in paid]"),),
        {
            LAPSING: (
                "test_m2_r9_step_three_comes_while_the_notify_is_not_committed",
                "test_m2_money_of_a_second_attempt_while_the_row_is_locked",
            ),
            TEST_REOPENING: ("test_a_payment_waits_for_the_rows_lock_and_is_not_dropped",),
        },
    ),
    "an answer is about the attempt that was asked about, and about its order": Protection(
        (
            Cut("src/lapse/orders/gateway.py", "if answer.attempt.reference != attempt.reference:", "if False:"),
            Cut(MONEY, "if before.order_key != self._rows.key_of(order):", "if False:"),
        ),
        {LAPSING: ("test_a_gateway_that_answers_about_another_attempt_is_not_believed",)},
    ),
    "what the shop's `reinstate` returns": Protection(
        (
            Cut(
                MONEY,
                "if not self._shop.reinstate(order):\n            raise _NoStock",
                "self._shop.reinstate(order)",
            ),
        ),
        {
            LATE: (
                "test_r28_r4_the_last_piece_is_sold_while_late_money_comes",
                "test_r28_r3_two_late_payments_for_the_last_piece",
            ),
        },
    ),
    "one transaction reinstates and pays": Protection(
        (Cut(MONEY, PAY, f"            {COMMIT}\n{PAY}"),),
        {LATE: ("test_r28_r3_the_last_piece_is_reinstated_while_it_is_sold",)},
    ),
    "a question is put off for all others": Protection(
        (Cut(ATTEMPT_ROWS, "self._table().filter(pk__in=pks).update(ask_at=DatabaseNow(-within))", "pass"),),
        {
            LATE: (
                "test_r4_many_reconcilers_refund_once",
                "test_r20_many_that_ask_are_not_in_each_others_way[postgresql]",
            )
        },
    ),
    "the query before a refund, and the question about an earlier request": Protection(
        (
            Cut(
                RECONCILING, "ruling = about(attempt, gateway.query(attempt))", "ruling = Ruling(attempt, Verdict.PAID)"
            ),
            Cut(
                RECONCILING,
                "refund = about(attempt, gateway.refund_status(attempt)) if asked_before else None",
                "refund = None if asked_before else None",
            ),
        ),
        {LATE: ("test_r4_a_second_reconciler_while_the_bank_refunds[refund-1]",)},
    ),
    "the refund's key": Protection(
        (Cut("tests/django/wirings/money.py", "if attempt.reference not in payment.refunds:", "if True:"),),
        {LATE: ("test_r4_a_second_reconciler_while_the_bank_refunds[begin_refund-2]",)},
    ),
    "money in review is asked about": Protection(
        (Cut(LATE_MONEY, "return _doubled(timedelta(minutes=10), asks, most=timedelta(hours=6))", "return None"),),
        {LATE: ("test_r4_m10_refunded_in_the_console_while_lapse_refunds",)},
    ),
    "a refund that the gateway reports ends a review": Protection(
        (
            Cut(
                LATE_MONEY,
                "case Verdict.REFUNDED:\n            return _refunded(record, ruling)",
                "case Verdict.REFUNDED:\n            return Booking(record)",
            ),
        ),
        {LATE: ("test_r4_m10_refunded_in_the_console_while_lapse_refunds",)},
    ),
    "an order with attempts is not deleted": Protection(
        (Cut("shop/payments/models.py", "on_delete=models.PROTECT", "on_delete=models.CASCADE"),),
        {"tests/races/shop/test_kept_rows.py": ("test_r27_an_order_with_an_attempt_is_not_deleted",)},
    ),
    "the database's clock": Protection(
        (
            Cut(
                "src/lapse/integrations/django/rows/database_clock.py",
                'return "(STATEMENT_TIMESTAMP() - %s::interval)", (f"{self._ago',
                'return f"(\'{datetime.now(UTC)}\'::timestamptz - %s::interval)", (f"{self._ago',
            ),
        ),
        {"tests/races/test_clocks.py": ("test_r29_a_database_an_hour_ahead_or_behind_decides",)},
    ),
    "the clock that stored when to ask": Protection(
        (
            Cut(
                ATTEMPT_ROWS,
                "ask_at__lte=DatabaseNow()",
                'ask_at__lte=__import__("django.utils.timezone").utils.timezone.now()',
            ),
        ),
        {"tests/races/test_clocks.py": ("test_r29_questions_are_asked_by_the_databases_clock",)},
    ),
    "threads for each gateway": Protection(
        (
            Cut(
                CALLS,
                "return lines.get(gateway) or lines.setdefault(gateway,",
                'return lines.get("") or lines.setdefault("",',
            ),
        ),
        {
            TEST_CALLS: (
                "test_one_gateway_that_hangs_takes_no_thread_of_another",
                "test_the_circuit_of_one_gateway_is_not_that_of_another",
            ),
        },
    ),
    "threads for each process": Protection(
        (
            Cut(
                CALLS,
                "return self._by_process.setdefault(os.getpid(), {})",
                "return self._by_process.setdefault(0, {})",
            ),
        ),
        {TEST_CALLS: ("test_it_works_after_a_fork",)},
    ),
    "an order in flight is not asked about again": Protection(
        (
            Cut(
                CLOSING,
                "if not insist and (flight is not None or not cooldown.ready(key)):",
                "if not insist and not cooldown.ready(key):",
            ),
        ),
        {TEST_CLOSING: ("test_a_second_caller_does_not_wait_for_an_order_in_flight",)},
    ),
    "money does not wait for another gateway": Protection(
        (Cut("src/lapse/orders/flight.py", "return self.complete or is_paid(self.rulings)", "return self.complete"),),
        {TEST_CLOSING: ("test_money_does_not_wait_for_the_other_gateway",)},
    ),
    "a worker waits for no gateway": Protection(
        (Cut("src/lapse/orders/lapsing.py", "self.lapse(keys, wait=timedelta(0), done=", "self.lapse(keys, done="),),
        {TEST_CLOSING: ("test_a_handler_never_waits_for_a_gateway",)},
    ),
    "step three reopens what was extended": Protection(
        (Cut(TRANSITION, "        self._reopening.reopen(self._unchanged(early, holds))\n", ""),),
        {TEST_REOPENING: ("test_m8_an_order_extended_while_the_gateway_is_called_may_be_paid_again",)},
    ),
    "step one reopens what was extended": Protection(
        (Cut(TRANSITION, "if early and self._reopening.declared:", "if False:"),),
        {TEST_REOPENING: ("test_m8_an_order_extended_after_a_crash_is_reopened_by_the_next_call",)},
    ),
    "a person's cancel is not reopened": Protection(
        (
            Cut(
                REOPENING,
                "begun = {**values_of_timer(self._shop.closing), field: EXPIRED}",
                "begun = values_of_timer(self._shop.closing)",
            ),
        ),
        {TEST_REOPENING: ("test_m8_a_persons_cancel_in_progress_is_never_taken_back",)},
    ),
    "nothing is decided about a refund that was begun": Protection(
        (Cut(DECISIONS, " and record.refunding is None", ""),),
        {
            TEST_DECISIONS: ("test_the_bank_was_asked_for_the_refund",),
            "tests/orders/test_decisions.py": ("test_a_refund_that_the_gateway_was_asked_for_is_not_taken_back",),
        },
    ),
    "the question after a person's decision": Protection(
        (
            Cut(
                MONEY,
                "            self.attempts.ask_now(reference)\n        return settled",
                "            pass\n        return settled",
            ),
        ),
        {TEST_DECISIONS: ("test_m10_refunded_by_hand_while_another_person_decides",)},
    ),
    "the question after a refund that no longer counts": Protection(
        (Cut(MONEY, "                self.attempts.ask_now(before.reference)\n", "                pass\n"),),
        {TEST_DECISIONS: ("test_a_refund_is_made_after_a_person_decided_otherwise",)},
    ),
    "the state is read again before a refund begins": Protection(
        (Cut(MONEY, "        if before.state is not AttemptState.REFUND_DUE:\n            return None\n", ""),),
        {TEST_DECISIONS: ("test_a_person_decides_while_a_refund_begins",)},
    ),
    "without stock a person's decision changes nothing": Protection(
        (Cut(MONEY, "            if booking.or_nothing:\n                return Settled.NO_STOCK\n", ""),),
        {TEST_DECISIONS: ("test_without_stock_nothing_is_reinstated",)},
    ),
    "only an answer to a question puts the next one off": Protection(
        (Cut(MONEY, "if after.state is before.state and not asked:", "if False:"),),
        {TEST_DECISIONS: ("test_a_repeated_notify_puts_no_refund_off",)},
    ),
    "a report that was written off is no alarm again": Protection(
        (Cut(LATE_MONEY, "    if record.written_off and record.paid is None:", "    if False:"),),
        {TEST_DECISIONS: ("test_the_way_out_for_an_order_whose_payment_cannot_be_booked",)},
    ),
    "what was reopened must be unpaid": Protection(
        (
            Cut(
                REOPENING,
                "unpaid = set(self._rows.unpaid(reopened))",
                "unpaid = {self._rows.key_of(order) for order in reopened}",
            ),
        ),
        {TEST_REOPENING: ("test_m8_a_reopened_row_must_count_as_unpaid",)},
    ),
    "an extension never shortens, and reads the deadline behind its lock": Protection(
        (Cut(EXTENDING, "elif due_at is None or due_at >= until:", "elif due_at is None:"),),
        {
            MORE_TIME: (
                "test_an_extension_never_shortens",
                "test_two_extensions_at_once_leave_the_later_deadline[postgresql]",
            )
        },
    ),
    "an extension reopens what the timer was closing": Protection(
        (Cut(EXTENDING, "in self._reopening.reopen(moved, actor=self._by)}", "in moved[:0]}"),),
        {
            MORE_TIME: (
                "test_r16_m8_an_extension_while_the_gateway_closes[False-postgresql]",
                "test_m8_r20_the_bank_closed_the_attempt_and_the_process_died",
            )
        },
    ),
    "an extension takes no person's cancel back": Protection(
        (Cut(EXTENDING, "return bool(reason) and not by_timer", "return bool(reason) and by_timer is None"),),
        {MORE_TIME: ("test_what_cannot_be_extended_is_named", "test_an_extension_meets_a_persons_cancel")},
    ),
    "the gateways are asked about the attempts of a reopened order": Protection(
        (Cut(REOPENING, "self._shop.on_link_doubt(reopened)", "pass"),),
        {MORE_TIME: ("test_m8_r20_the_bank_closed_the_attempt_and_the_process_died",)},
    ),
    "a revival reads behind its lock that the order is cancelled": Protection(
        (
            Cut(
                REVIVING,
                "if self._rows.unpaid(orders) or not self._shop.was_cancelled(orders[0]):",
                "if not self._rows.unpaid:",
            ),
        ),
        {MORE_TIME: ("test_r24_two_revive_at_once[postgresql]", "test_r24_without_stock_nothing_changes")},
    ),
    "a revival without stock is rolled back": Protection(
        (Cut(REVIVING, "            raise _NotReinstated\n", "            return Revived.NOT_REINSTATED\n"),),
        {MORE_TIME: ("test_r24_without_stock_nothing_changes",)},
    ),
    "a revived order forgets why it was cancelled": Protection(
        (Cut(REVIVING, 'values = {**values, field: ""}', "values = {**values}"),),
        {MORE_TIME: ("test_r24_a_revived_order_is_cancelled_again_and_its_piece_comes_back_once[postgresql]",)},
    ),
    "a link that ends too soon is closed before another one is opened": Protection(
        (Cut("shop/payments/links.py", "unpaid_orders().close_attempt(attempt.reference)", "pass"),),
        {"tests/shop/test_more_time.py": ("test_m9_r17_two_tabs_replace_one_link",)},
    ),
    "the condition of the shop's reservation, and the database's own": Protection(
        (
            Cut("shop/orders/sql/reserve.sql", " AND product.on_hand - product.held >= locked.quantity", ""),
            Cut("shop/catalogue/migrations/0001_initial.py", ", ('held__lte', models.F('on_hand'))", ""),
        ),
        {
            "tests/races/shop/test_shop_money.py": ("test_r3_r28_the_last_piece_is_sold_while_late_money_wants_it",),
            "tests/shop/test_fifty_buyers.py": ("test_fifty_buyers_want_ten_pieces",),
        },
    ),
    "a sale lapses the overdue holds in its way": Protection(
        (
            Cut(
                "shop/orders/placing.py",
                'return _lapse_overdue(Q(pk__in=Line.objects.filter(product__sku__in=skus).values("order_id")))',
                "return skus == []",
            ),
        ),
        {"tests/shop/test_fifty_buyers.py": ("test_fifty_buyers_want_ten_pieces",)},
    ),
    "one transaction places an order": Protection(
        (
            Cut(
                "shop/orders/placing.py",
                "    unknown = [line.sku for line in wanted",
                f"    {SHOPS_COMMIT}\n    unknown = [line.sku for line in wanted",
            ),
        ),
        {"tests/shop/test_api_fuzzed.py": ("test_a_refused_request_changes_nothing[5]",)},
    ),
}
"""By their names in docs/explanation/races.md."""


def table() -> str:
    """Return the table of docs/explanation/races.md: what is removed, and the tests that fail then."""
    lines = ["| without | fails |", "| --- | --- |"]
    for name, protection in PROTECTIONS.items():
        cells = []
        for file, tests in protection.tests.items():
            names = ", ".join(f"`{test}`" for test in dict.fromkeys(test.partition("[")[0] for test in tests))
            cells.append(f"[{Path(file).name}](../../{file}): {names}")
        lines.append(f"| {name} | {'; '.join(cells)} |")
    return "\n".join(lines)
