/*
 * One order, the attempts to pay it, the gateway, the timer, and the processes that race for them.
 *
 * `python -m tests.model` checks this model with Spin. docs/explanation/the-model.md says what it shows and what it
 * leaves out. An `atomic` block is one step: a transaction that has locked the order's row, or one call to the gateway.
 * `code:` names the function that takes this step. Between two steps every other process may run, and the process may
 * crash: then it starts again and knows nothing but the stored rows.
 */

/* How many there are. One run with many of each has more states than fit into memory: see RUNS in checking.py. */
#ifndef ATTEMPTS
#define ATTEMPTS 1
#endif
#ifndef WORKERS
#define WORKERS 1
#endif
#ifndef PERSONS
#define PERSONS 1
#endif
#ifndef RECONCILERS
#define RECONCILERS 1
#endif
#ifndef DECISIONS
#define DECISIONS 0    /* a person decides about money that waits */
#endif
#ifndef EXTENSIONS
#define EXTENSIONS 0   /* 1: a merchant may extend the order once, and revive it once */
#endif
#ifndef TROUBLES
#define TROUBLES 1     /* the most crashes, lost answers, refused refunds and refunds by hand in one run, together */
#endif

/* The protections. -DSWEEP=0 takes the sweep out, and so on; -DRECONCILERS=0 the reconciler. */
#ifndef SWEEP
#define SWEEP 1        /* the sweep wakes the workers as well as the timer */
#endif
#ifndef REREAD
#define REREAD 1       /* begin reads the order after it has the lock, and believes nothing that it read before */
#endif
#ifndef LOCK
#define LOCK 1         /* finish locks and reads the order again, and believes nothing that begin read */
#endif
#ifndef DUE
#define DUE 1          /* finish asks again whether the order is due: a merchant may have extended it */
#endif
#ifndef QUESTION
#define QUESTION 1     /* the gateway is asked before the cancel */
#endif
#ifndef LINK_END
#define LINK_END 1     /* an absent trade is not closed as long as its link can be scanned */
#endif
#ifndef KEY
#define KEY 1          /* all refunds of one attempt have one idempotency key */
#endif
#ifndef FINALITY
#define FINALITY 1     /* nothing follows a refund */
#endif
#ifndef BEGUN
#define BEGUN 1        /* a person decides no more about money that the gateway was asked to refund */
#endif

mtype = {
  awaiting, closing, paid, cancelled,        /* an order */
  none, open, closed, refund_due, review,    /* an attempt, with `paid` and `refunded`. `review`: on the work list */
  kept,                                      /* an attempt whose money a person wrote off */
  absent, refunded,                          /* a trade at the gateway, with `open`, `paid`, `closed` */
  asked, unknown, expired,                   /* a verdict, with the words of a trade. `expired`: absent, link ended */
  worker, person, reconciler
}

/* The shop's rows. */
mtype order = awaiting;
mtype attempt[2] = none;
bool final[2];         /* the trade of this closed attempt can no longer change: the gateway is not asked any more */
bool begun[2];         /* the refund of this attempt is stored, and the gateway may have been asked for it */
bool held = true;      /* the order has its unit, reserved or sold */
byte stock;            /* units for sale */
bool taken;            /* another buyer has the unit */

/* The gateway's side. */
mtype trade[2] = absent;
bool late[2];          /* scanned after the link's end by the shop's clock, because the gateway's clock is behind */
byte refunds[2];       /* how often the gateway gave back the money of this trade */

bool more;             /* a merchant has given more time, and it is not over */
bool by_person;        /* a person began to cancel the order: no extension takes that back */

byte time;             /* 1: the links have ended. 2: the order is due. 3: the gateway takes no scan any more */
bool woken;            /* the timer wakes the workers: too early, many times, or never if the wake-up is lost */
byte troubles;

/* What must never be. If a condition fails, Spin prints it with the property's name: a variable, always false. */
bool paid_is_safe, once, never_early, asked_first, refunded_once, refund_is_final, refund_was_due;
#define must(property, condition) assert(property || (condition))

/* What must be in the end, on every fair run: a process that can take a step takes it at some time. */
#define accounted(a)   (attempt[a] != open && attempt[a] != refund_due && trade[a] != open && \
                        (trade[a] != paid || attempt[a] == review || attempt[a] == kept || \
                         (attempt[a] == paid && order == paid)))
ltl never_lost         { <> [] (order == paid || order == cancelled) }
ltl no_money_unseen    { <> [] (accounted(0) && accounted(1)) }

#define by_hand        (me == person)
#define unpaid         (order == awaiting || order == closing)
#define due            (time >= 2 && !more)
#define conserved      (stock + held + taken == 1)
#define ended(verdict) (verdict == none || verdict == closed || verdict == expired || verdict == refunded)
#define waits(a)       (attempt[a] == refund_due || attempt[a] == review)
#define has_money(a)   (attempt[a] == paid || attempt[a] == kept || waits(a))
#define undecided(a)   (DECISIONS && waits(a) && (!BEGUN || !begun[a]))
#define to_ask(a)      (attempt[a] == open || attempt[a] == refund_due || (attempt[a] == closed && !final[a]))
#define unpayable(a)   (trade[a] == closed || trade[a] == refunded || late[a] || \
                        (trade[a] == absent && (attempt[a] == none || time > 0)))
#define unlucky        troubles < TROUBLES -> troubles++
#define crash          atomic { unlucky; printf("%e %d crashes\n", me, _pid) }; goto start

/* code: lapse.orders.transition:Transition._lapse */
inline cancel() {
  printf("%e %d cancels the order: its unit is for sale\n", me, _pid);
  must(paid_is_safe, order != paid);
  must(never_early, by_hand || due);
  must(asked_first, unpayable(0) && unpayable(1));
  must(once, held);
  order = cancelled; held = false; stock++;
  must(once, conserved)
}

/* code: lapse.orders.money:Money._carry_out */
inline pay(a) {
  must(refund_is_final, attempt[a] != refunded);
  order = paid; attempt[a] = paid;
  must(once, held && conserved)
}

/* The one door for money. The order's row is locked, then the attempt's.
   code: lapse.orders.money:Money.receive   code: lapse.orders.money:Money.apply   code: lapse.orders.late_money:book */
inline receive(a, verdict) {
  if
  :: verdict == paid && (has_money(a) || (FINALITY && attempt[a] == refunded))
  :: verdict == paid && !(has_money(a) || (FINALITY && attempt[a] == refunded)) ->
     if
     :: unpaid -> printf("attempt %d pays the order\n", a); pay(a)
     :: order == cancelled && stock > 0 ->
        printf("attempt %d reinstates the order and pays it\n", a); stock--; held = true; pay(a)
     :: order == paid || (order == cancelled && stock == 0) ->
        printf("attempt %d has money to refund\n", a); attempt[a] = refund_due
     fi
  :: verdict == refunded -> attempt[a] = refunded; begun[a] = false
  :: verdict == review && attempt[a] == refund_due -> attempt[a] = review; begun[a] = false
  :: (verdict == closed || verdict == expired) && (attempt[a] == open || attempt[a] == closed) ->
     attempt[a] = closed; final[a] = (final[a] || verdict == closed)
  :: else
  fi
}

/* The clock that judges an absent trade is read before the question. code: lapse.orders.gateway:Gateway.query */
inline query(a, verdict) {
  if
  :: trade[a] != absent -> verdict = trade[a]
  :: trade[a] == absent && LINK_END && time == 0 -> verdict = absent
  :: trade[a] == absent && (!LINK_END || time > 0) && time < 3 -> verdict = expired
  :: trade[a] == absent && time == 3 -> verdict = closed
  fi;
  if
  :: time <= 3
  :: unlucky; verdict = unknown              /* the answer does not come */
  fi;
  printf("%e %d asks about attempt %d: %e\n", me, _pid, a, verdict)
}

/* code: lapse.orders.gateway:Gateway.close */
inline close(a, verdict) {
  if
  :: trade[a] == open -> trade[a] = closed; late[a] = false
  :: else
  fi;
  query(a, verdict)
}

/* Where the refund was asked for before, the state of the refund is asked for first, which changes nothing here.
   code: lapse.orders.gateway:Gateway.refund   code: lapse.orders.gateway:Gateway.refund_status */
inline refund(a, verdict) {
  printf("%e %d refunds attempt %d\n", me, _pid, a);
  if
  :: KEY && trade[a] == refunded -> verdict = refunded
  :: trade[a] == paid || !KEY ->
     /* Another reconciler's refund may have been refused meanwhile. Then the code asks about the paid order again. */
     must(refund_was_due, attempt[a] != paid || RECONCILERS > 1);
     trade[a] = refunded; refunds[a]++; verdict = refunded;
     must(refunded_once, refunds[a] == 1)
  :: unlucky; verdict = review               /* refused: a person must decide */
  fi;
  if
  :: time <= 3
  :: unlucky; verdict = unknown              /* refunded or not: the answer does not come */
  fi
}

/* A worker that lapses the order, or a person who cancels it. code: lapse.orders.lapsing:Lapsing.lapse */
proctype lapse(mtype me) {
  mtype ruling[2] = none;
  bool seen;
start:
  atomic { ruling[0] = none; ruling[1] = none; seen = false };
end:
  if
  :: by_hand -> goto start                   /* a person does not have to cancel */
  :: atomic {
       /* Woken by a person, by the timer or by the sweep. code: lapse.orders.lapsing:Lapsing.handle
          code: lapse.orders.sweep:Sweep.once   code: lapse.orders.transition:Transition.overdue */
       by_hand || woken || (SWEEP && unpaid && due) -> seen = unpaid && (by_hand || due);
#if !REREAD
     }; atomic {
#endif
       /* Step one. code: lapse.orders.transition:Transition.begin */
       if
       :: !seen -> goto start
       :: seen && QUESTION && (attempt[0] == open || attempt[1] == open) ->
          printf("%e %d begins: the order is closing\n", me, _pid);
#if EXTENSIONS
          by_person = (by_person || (by_hand && order == awaiting));
#endif
          order = closing;
          ruling[0] = (attempt[0] == open -> asked : none);
          ruling[1] = (attempt[1] == open -> asked : none)
       :: seen && !(QUESTION && (attempt[0] == open || attempt[1] == open)) -> cancel(); goto start
       fi }
  fi;
  do
  :: crash
     /* Step two, outside of any transaction. code: lapse.orders.closing:Closing.close */
  :: atomic { ruling[0] == asked -> close(0, ruling[0]) }
  :: atomic { ruling[1] == asked -> close(1, ruling[1]) }
     /* Step three, as soon as every ruling is there, or one of them is PAID.
        code: lapse.orders.transition:Transition.finish   code: lapse.orders.money:Money.apply_all */
  :: atomic { (ruling[0] != asked && ruling[1] != asked) || ruling[0] == paid || ruling[1] == paid ->
       printf("%e %d finishes\n", me, _pid);
       receive(0, ruling[0]); receive(1, ruling[1]);
       seen = (LOCK -> unpaid && (by_hand || due || !DUE) : seen);
       if
       :: seen && ended(ruling[0]) && ended(ruling[1]) && attempt[0] != open && attempt[1] != open -> cancel()
       :: else
       fi;
       goto start }
  od
}

/* Asks about every attempt that may have money, in any state of its order.
   code: lapse.orders.reconciling:Reconciler.once */
proctype reconcile(mtype me) {
  mtype verdict = none;
  bit a;
start:
  atomic { verdict = none; a = 1 - a };
end:
  atomic {
    if                                       /* the attempt that waits longest comes first */
    :: to_ask(a)
    :: !to_ask(a) && to_ask(1 - a) -> a = 1 - a
    fi;
    if
    :: unpaid || attempt[a] == refund_due -> query(a, verdict)
    :: !unpaid && attempt[a] != refund_due -> close(a, verdict)
    fi };
  do
  :: crash
     /* code: lapse.orders.money:Money.begin_refund */
  :: atomic { verdict == paid && attempt[a] == refund_due -> verdict = refund_due; begun[a] = DECISIONS }
  :: atomic { verdict == refund_due -> refund(a, verdict) }
     /* What the gateway said is stored. code: lapse.orders.money:Money.refunded */
  :: atomic { verdict != refund_due && (verdict != paid || attempt[a] != refund_due) ->
       receive(a, verdict); goto start }
  od
}

#if EXTENSIONS
/* A merchant who may give more time. No new link follows: a link has the time of the others. */
proctype merchant() {
  bool extended, revived;
end:
  do
  :: atomic { !extended || !revived -> extended = true; revived = true }       /* no more of that */
     /* An order that was closing because it was due may be paid again. code: lapse.orders.extending:Extending.extend */
  :: atomic { !extended && unpaid && !by_person -> printf("the merchant extends the order\n");
       extended = true; more = true; order = awaiting }
     /* The unit is reserved again. What is stored of the attempts stays. code: lapse.orders.reviving:Reviving.revive */
  :: atomic { !revived && order == cancelled && stock > 0 -> printf("the merchant revives the order\n");
       revived = true; more = true; by_person = false; order = awaiting; stock--; held = true;
       must(once, conserved) }
  :: atomic { more && time >= 2 -> printf("the new deadline passes\n"); more = false }
  od
}
#endif

/* What is outside of the shop and concerns one attempt: each event may happen at any time, and none has to. */
proctype world(bit a) {
  do
  :: time <= 3                               /* nothing happens */
  :: atomic { order == awaiting && time == 0 && attempt[a] == none && (a == 0 || attempt[0] != none) ->
       printf("the buyer gets the link of attempt %d\n", a); attempt[a] = open }
  :: atomic { attempt[a] != none && trade[a] == absent && time < 3 ->
       printf("the buyer scans the link of attempt %d\n", a); trade[a] = open; late[a] = (time > 0) }
  :: atomic { trade[a] == open -> printf("the buyer pays attempt %d\n", a); trade[a] = paid }
  :: atomic { trade[a] == open && time > 0 -> trade[a] = closed; late[a] = false }
  :: atomic { trade[a] == paid && unlucky;
       printf("the merchant refunds attempt %d at the gateway\n", a); trade[a] = refunded; refunds[a]++ }
     /* Notifies: late, many times, or never. */
  :: atomic { trade[a] == paid || trade[a] == refunded ->
       printf("a notify: attempt %d was paid\n", a); receive(a, paid) }
  :: atomic { trade[a] == refunded -> printf("a notify: attempt %d was refunded\n", a); receive(a, refunded) }
  :: atomic { stock > 0 -> printf("another buyer takes the unit\n"); stock--; taken = true }
  :: atomic { DECISIONS && taken -> printf("the other buyer cancels\n"); taken = false; stock++ }
     /* What a person decides about money that waits. code: lapse.orders.money:Money.decide_refund
        code: lapse.orders.money:Money.decide_reinstate   code: lapse.orders.money:Money.write_off */
  :: atomic { DECISIONS && attempt[a] == review ->
       printf("a person decides to refund attempt %d\n", a); attempt[a] = refund_due }
  :: atomic { undecided(a) && (unpaid || (order == cancelled && stock > 0)) ->
       printf("a person lets attempt %d pay the order\n", a);
       if
       :: unpaid
       :: else -> stock--; held = true
       fi;
       pay(a) }
  :: atomic { undecided(a) -> printf("a person writes attempt %d off\n", a); attempt[a] = kept }
  od
}

active proctype clock() {
  do
  :: atomic { time == 0 -> time = 1; printf("the links end\n") }
  :: atomic { time == 1 -> time = 2; printf("the order is due\n") }
  :: atomic { time == 2 -> time = 3; printf("no link can be scanned any more\n") }
  :: atomic { !woken -> woken = true; printf("the timer wakes the workers\n") }
  :: time == 3 -> break
  od
}

init {
  byte n;
  atomic {
#if EXTENSIONS
    run merchant();
#endif
    do :: n < WORKERS -> n++; run lapse(worker) :: else -> n = 0; break od;
    do :: n < PERSONS -> n++; run lapse(person) :: else -> n = 0; break od;
    do :: n < RECONCILERS -> n++; run reconcile(reconciler) :: else -> n = 0; break od;
    do :: n < ATTEMPTS -> n++; run world(n - 1) :: else -> n = 0; break od
  }
}
