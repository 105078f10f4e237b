"""What the job says of a run in which some orders fail and others are billed and mailed."""

from __future__ import annotations

import pytest
from company import CUSTOMER, Company
from mail_peer import Mailbox


@pytest.mark.parametrize("billed", [True, False])
def test_a_failing_order_makes_the_run_a_failure(
    served: Company, mailbox: Mailbox, billed: bool
) -> None:
    """Whether or not others are billed; those are told, and mailed, all the same."""
    if not billed:
        served.set_configs(active=False)
    served.add_order(2, {"customer_id": None}, start_date="2026-02-01")
    served.add_order(3, end_date="2026-03-10")
    result = served.run()
    assert result.failed
    error = result.error or ""
    assert error.splitlines()[0] == (
        "order AB-2, period 2026-02-01 (configuration 300002): the order has no customer"
    )
    assert "1 skipped:\norder AB-2: 2026-03-01, until 2026-02-01 is billed" in error
    assert (
        "1 configurations deactivated:\norder AB-3: ended 2026-03-10; never billed: 2026-03-01"
        in (error)
    )
    posted = "1: order AB-1, period 2026-03-01, net 100.00, total 119.00"
    assert (posted in error) == (posted in (result.text or "")) == billed
    assert [message["To"] for message in mailbox.messages] == [CUSTOMER] * billed
    assert served.rows("SELECT count(*) FROM ar") == [(int(billed),)]

    served.execute("UPDATE oe SET customer_id = 1001")
    assert not served.run().failed
    assert served.rows("SELECT count(*) FROM ar") == [(2 + billed,)]
