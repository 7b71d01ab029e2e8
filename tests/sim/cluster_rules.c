/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of the protocol, each told as a schedule that goes wrong without it: those that the
 * design marks, and those of which the model was deprived. Each is true of the cluster as it is,
 * and false with the bugs planted whose numbers are above it.
 */
#include "sim/cluster_tell.h"

static void truth_goes(struct cluster *cluster, bool away)
{
    cluster->truth.away = away;
}

/* Node 0 is stale, and what it has nobody doubts: it will set nothing aside. */
static void first_goes_stale(struct cluster *cluster)
{
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_wait_ms(cluster, 1000); /* All is flushed, and all were told so. */
    tell_node_stops(cluster, 0);
    tell_wait_for(cluster, "a copy is stale", tell_first_stale);
}

/* --- 200, 201 --------------------------------------------------------------------------------- */

/* Node 0 is not reached, nor is the truth: what the others have is not acknowledged, for node 0 may
 * be the only one that comes back. */
static void all_acknowledge(struct cluster *cluster)
{
    cluster_open_story(cluster, 3, 2);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_wait_ms(cluster, 90); /* The lease is as new as can be. */
    cluster->owners[0].cut_off = true;
    tell_cut_both(cluster, 0, 0, true);
    tell_begin(cluster, 0, 0, VOLUME_WRITE, 1, 1);
    tell_wait_ms(cluster, 300);
    tell_owner_dies(cluster, 0);
    tell_cut_both(cluster, 1, 1, true);
    tell_cut_both(cluster, 1, 2, true);
    tell_open_volume(cluster, 1);
    tell_ask(cluster, 1, VOLUME_READ, 1, 1);
}

/* --- 44 --------------------------------------------------------------------------------------- */

/* A write was sent again on another connection, and a newer one is there, when it comes. */
static void older_comes_late(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 1);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_hold(cluster, 0, 0, TELL_KIND(PART_WRITE));
    tell_begin(cluster, 0, 0, VOLUME_WRITE, 5, 1);
    tell_wait_ms(cluster, 5);
    tell_hold(cluster, 0, 0, 0);
    road_break(&cluster->owners[0].roads[0]);
    tell_wait_ms(cluster, 20);
    tell_ask(cluster, 0, VOLUME_WRITE, 5, 1);
    tell_release(cluster, 0, 0);
    tell_wait_ms(cluster, 20);
    tell_read_all(cluster, 0);
}

/* --- 209, 272, 273 ---------------------------------------------------------------------------- */

/* Node 0 is interrupted as it catches up. Meanwhile it heard how far the others are, and an old
 * message told it that it is in sync: it does not have what it lacks for that. */
static void heard_while_catching_up(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    first_goes_stale(cluster);
    tell_hold(cluster, 0, 0, TELL_KIND(PART_ROLE));
    tell_node_starts(cluster, 0);
    tell_wait_ms(cluster, 20);
    tell_release(cluster, 0, 0);
    tell_wait_for(cluster, "it joins", tell_first_joins);
    tell_hold(cluster, 0, 0, TELL_KIND(PART_ROLE));
    tell_wait_for(cluster, "it is in sync", tell_first_in_sync);
    tell_wait_ms(cluster, 5);
    tell_hold(cluster, 0, 0, 0);
    road_break(&cluster->owners[0].roads[0]);
    tell_wait_ms(cluster, 1000);
    tell_node_stops(cluster, 0);
    tell_wait_for(cluster, "a copy is stale", tell_first_stale);
    tell_write_all(cluster, 0);
    tell_node_starts(cluster, 0);
    tell_wait_for(cluster, "it is copied to", tell_first_copies);
    tell_release(cluster, 0, 0);
    tell_hold(cluster, 0, 0, TELL_KIND(PART_RESYNC));
    tell_wait_ms(cluster, 5);
    tell_ask(cluster, 0, VOLUME_WRITE, 7, 1);
    tell_wait_ms(cluster, 50);
    tell_flush(cluster, 0);
    tell_wait_ms(cluster, 50);
    tell_owner_dies(cluster, 0);
    tell_open_volume(cluster, 1);
    tell_wait_ms(cluster, 300);
}

/* --- 202 -------------------------------------------------------------------------------------- */

/* The transaction that calls node 0 in sync is on its way: a write needs node 0, too. */
static void joins_with_everything(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    first_goes_stale(cluster);
    tell_node_starts(cluster, 0);
    tell_wait_for(cluster, "it joins", tell_first_joins);
    truth_goes(cluster, true);
    tell_hold(cluster, 0, 0, TELL_KIND(PART_WRITE));
    tell_begin(cluster, 0, 0, VOLUME_WRITE, 7, 1);
    tell_wait_ms(cluster, 5);
    truth_goes(cluster, false);
    tell_wait_for(cluster, "it is in sync", tell_first_in_sync);
    tell_owner_dies(cluster, 0);
    tell_cut_both(cluster, 1, 1, true);
    tell_open_volume(cluster, 1);
    tell_ask(cluster, 1, VOLUME_READ, 7, 1);
}

/* --- 275 -------------------------------------------------------------------------------------- */

/* That it shall catch up comes to node 0 once more, after it has all: it sets nothing aside. */
static void told_twice(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    first_goes_stale(cluster);
    tell_hold(cluster, 0, 0, TELL_KIND(PART_ROLE));
    tell_node_starts(cluster, 0);
    tell_wait_state(cluster, 0, REPLICA_CATCHING_UP);
    tell_wait_ms(cluster, 5);
    tell_hold(cluster, 0, 0, 0);
    road_break(&cluster->owners[0].roads[0]);
    tell_wait_for(cluster, "it joins", tell_first_joins);
    truth_goes(cluster, true);
    tell_ask(cluster, 0, VOLUME_WRITE, 7, 1);
    tell_release(cluster, 0, 0);
    tell_wait_ms(cluster, 10);
    truth_goes(cluster, false);
    tell_wait_for(cluster, "it is in sync", tell_first_in_sync);
    tell_owner_dies(cluster, 0);
    tell_cut_both(cluster, 1, 1, true);
    tell_open_volume(cluster, 1);
    tell_try(cluster, 1, 0, VOLUME_READ, 7);
    tell_wait_ms(cluster, 300);
}

/* --- 384 -------------------------------------------------------------------------------------- */

/* What node 0 cannot read is read from node 1. */
static void bad_is_read_elsewhere(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 1);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_flush(cluster, 0);
    cluster->rot_count = 1; /* Damage may be told of. */
    tell_expect(cluster, cluster_rot(cluster, 0, cluster->next_value), "it rots");
    for (unsigned slot = 0; slot < 4; slot++)
        tell_begin(cluster, 0, slot, VOLUME_READ, CLUSTER_REGISTERS - 1, 1);
    tell_wait_ms(cluster, 20);
}

/* --- 92 --------------------------------------------------------------------------------------- */

/* Node 0 has what node 1 has not: whoever read it would have seen what never happened. */
static void seen_too_early(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_hold(cluster, 0, 1, TELL_KIND(PART_WRITE));
    tell_begin(cluster, 0, 0, VOLUME_WRITE, 5, 1);
    tell_wait_ms(cluster, 5);
    tell_begin(cluster, 0, 1, VOLUME_READ, 5, 1);
    tell_begin(cluster, 0, 2, VOLUME_READ, 5, 1);
    tell_wait_ms(cluster, 5);
    tell_owner_dies(cluster, 0);
    tell_cut_both(cluster, 1, 0, true);
    tell_open_volume(cluster, 1);
    tell_ask(cluster, 1, VOLUME_READ, 5, 1);
}

/* --- 221 -------------------------------------------------------------------------------------- */

static bool second_opens(struct cluster *cluster)
{
    return cluster->owners[1].state == OWNER_OPENING;
}

/* Owner 0 asked for node 0 to be called in sync, and is dead. It is not heard after owner 1. */
static void old_transaction(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    first_goes_stale(cluster);
    tell_node_starts(cluster, 0);
    tell_wait_for(cluster, "it joins", tell_first_joins);
    cluster->owners[0].cut_off = true;
    tell_wait_ms(cluster, 5);
    tell_owner_dies(cluster, 0);
    cluster->owners[1].wants = true;
    tell_wait_for(cluster, "owner 1 opens", second_opens);
    cluster->owners[1].cut_off = true;
    cluster->owners[0].cut_off = false;
    tell_wait_ms(cluster, 30);
    tell_ask(cluster, 1, VOLUME_WRITE, 7, 1);
    tell_owner_dies(cluster, 1);
    tell_cut_both(cluster, 0, 1, true);
    cluster->owners[0].wants = true;
    tell_wait_ms(cluster, 1500);
    tell_try(cluster, 0, 0, VOLUME_READ, 7);
    tell_wait_ms(cluster, 20);
}

/* --- 205, 225 --------------------------------------------------------------------------------- */

/* Owner 0 dropped node 2, and has not heard that this was committed. Owner 1 takes over by force
 * and does not reach node 2; owner 0 does, and reads there: it may, until its lease is over. */
static void unreached_copy(struct cluster *cluster)
{
    cluster_open_story(cluster, 3, 2);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_cut_both(cluster, 1, 2, true);
    tell_node_stops(cluster, 2);
    tell_begin(cluster, 0, 0, VOLUME_WRITE, 1, 1);
    tell_wait_state(cluster, 2, REPLICA_STALE);
    cluster->owners[0].deaf = true;
    tell_node_starts(cluster, 2);
    tell_cut_both(cluster, 0, 0, true);
    tell_cut_both(cluster, 0, 1, true);
    cluster->owners[1].forces = true;
    tell_open_volume(cluster, 1);
    tell_begin(cluster, 1, 0, VOLUME_WRITE, 0, 1);
    tell_wait_ms(cluster, 3);
    tell_begin(cluster, 0, 1, VOLUME_READ, 0, 1);
    tell_wait_ms(cluster, 600);
}

/* --- 381 -------------------------------------------------------------------------------------- */

/* A write of owner 0 comes to node 0 when owner 1 has the volume. */
static void fenced_write(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_hold(cluster, 0, 0, TELL_KIND(PART_WRITE));
    tell_hold(cluster, 0, 1, TELL_KIND(PART_WRITE));
    tell_begin(cluster, 0, 0, VOLUME_WRITE, 5, 1);
    tell_wait_ms(cluster, 5);
    tell_owner_dies(cluster, 0);
    tell_open_volume(cluster, 1);
    tell_ask(cluster, 1, VOLUME_READ, 5, 1);
    tell_release(cluster, 0, 0);
    tell_wait_ms(cluster, 20);
    for (unsigned slot = 0; slot < 4; slot++)
        tell_begin(cluster, 1, slot, VOLUME_READ, 5, 1);
    tell_wait_ms(cluster, 20);
}

/* --- 204 -------------------------------------------------------------------------------------- */

/* Only a copy that is stale is reached: nobody opens. */
static void stale_and_alone(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    first_goes_stale(cluster);
    tell_write_all(cluster, 0);
    tell_owner_dies(cluster, 0);
    tell_cut_both(cluster, 1, 1, true);
    tell_node_starts(cluster, 0);
    cluster->owners[1].wants = true;
    tell_wait_ms(cluster, 1500);
    tell_try(cluster, 1, 0, VOLUME_READ, 7);
    tell_wait_ms(cluster, 20);
}

/* --- 277, 320, 322 ---------------------------------------------------------------------------- */

static bool cut_committed(struct cluster *cluster)
{
    return cluster->truth.cut_count == 1;
}

/* A snapshot is taken while node 0 catches up, and all that it shows is overwritten. */
static void cut_while_catching_up(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 1);
    first_goes_stale(cluster);
    tell_write_all(cluster, 0);
    tell_hold(cluster, 0, 0, TELL_KIND(PART_RESYNC));
    tell_node_starts(cluster, 0);
    tell_wait_for(cluster, "it is copied to", tell_first_copies);
    tell_wait_ms(cluster, 10);
    cluster_owner_cut(&cluster->owners[0]);
    tell_wait_for(cluster, "the cut is committed", cut_committed);
    tell_write_all(cluster, 0);
    tell_release(cluster, 0, 0);
    tell_wait_ms(cluster, 300);
}

/* --- 276, 383 --------------------------------------------------------------------------------- */

/* Node 0 has two writes that nobody else has, one of them where there was nothing. Others go on
 * without it; when it is back it has neither. */
static void one_write_ahead(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    tell_open_volume(cluster, 0);
    tell_ask(cluster, 0, VOLUME_WRITE, 0, 16);
    tell_wait_ms(cluster, 1000);
    tell_hold(cluster, 0, 1, TELL_KIND(PART_WRITE));
    tell_begin(cluster, 0, 0, VOLUME_WRITE, 5, 1);
    tell_begin(cluster, 0, 1, VOLUME_WRITE, 40, 1);
    tell_wait_ms(cluster, 30);
    tell_owner_dies(cluster, 0);
    tell_cut_both(cluster, 1, 0, true);
    tell_open_volume(cluster, 1);
    tell_ask(cluster, 1, VOLUME_READ, 5, 1);
    tell_cut_both(cluster, 1, 0, false);
    tell_wait_ms(cluster, 300);
}

/* --- 278 -------------------------------------------------------------------------------------- */

/* What node 0 has of a block is mended, after that was written again and rotted again. */
static void repaired_late(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 1);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_ask(cluster, 0, VOLUME_WRITE, 5, 1);
    tell_flush(cluster, 0);
    cluster->rot_count = 1; /* Damage may be told of. */
    tell_expect(cluster, cluster_rot(cluster, 0, cluster->next_value), "it rots");
    tell_hold(cluster, 0, 0, TELL_KIND(PART_REPAIR));
    for (unsigned slot = 0; slot < 4; slot++)
        tell_begin(cluster, 0, slot, VOLUME_READ, 5, 1);
    tell_wait_ms(cluster, 20);
    tell_hold(cluster, 0, 0, 0);
    road_break(&cluster->owners[0].roads[0]);
    tell_wait_ms(cluster, 20);
    tell_ask(cluster, 0, VOLUME_WRITE, 5, 1);
    tell_flush(cluster, 0);
    tell_expect(cluster, cluster_rot(cluster, 0, cluster->next_value), "it rots again");
    tell_release(cluster, 0, 0);
    tell_wait_ms(cluster, 20);
    for (unsigned slot = 0; slot < 4; slot++)
        tell_begin(cluster, 0, slot, VOLUME_READ, 5, 1);
    tell_wait_ms(cluster, 20);
}

/* --- 206 -------------------------------------------------------------------------------------- */

/* Node 0 has a write, and says so. Before node 1 has it node 0 falls behind, catches up from node
 * 1, and has it no more: it is sent there again. */
static void acknowledged_before(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 1);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_wait_ms(cluster, 1000);
    tell_hold(cluster, 0, 1, TELL_KIND(PART_WRITE));
    tell_begin(cluster, 0, 0, VOLUME_WRITE, 5, 1);
    tell_wait_ms(cluster, 30);
    tell_node_stops(cluster, 0);
    tell_wait_for(cluster, "a copy is stale", tell_first_stale);
    tell_node_starts(cluster, 0);
    tell_wait_for(cluster, "it joins", tell_first_joins);
    tell_release(cluster, 0, 1);
    tell_wait_ms(cluster, 50);
    for (unsigned slot = 1; slot < 5; slot++)
        tell_begin(cluster, 0, slot, VOLUME_READ, 5, 1);
    tell_wait_ms(cluster, 20);
}

/* --- 270 -------------------------------------------------------------------------------------- */

static bool third_obeys(struct cluster *cluster)
{
    const struct cluster_owner *owner = &cluster->owners[1];
    return owner->copies != NULL && tell_group_of(cluster, 1)->replica.copies[2].fenced;
}

/* Owner 1 takes the volume by force from owner 0, which does not know. Node 2 obeys, and then its
 * power goes, and it is dropped: it does not obey owner 0 again. */
static void power_after_the_fence(struct cluster *cluster)
{
    cluster_open_story(cluster, 3, 2);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_flush(cluster, 0);
    tell_wait_ms(cluster, 1000);
    cluster->owners[0].deaf = true;
    for (unsigned node = 0; node < 3; node++)
        tell_cut_both(cluster, 0, node, true);
    cluster->owners[1].wants = cluster->owners[1].forces = true;
    tell_wait_for(cluster, "node 2 obeys", third_obeys);
    tell_node_loses_power(cluster, 2);
    tell_wait_state(cluster, 2, REPLICA_STALE);
    tell_cut_both(cluster, 1, 2, true);
    tell_node_starts(cluster, 2);
    tell_cut_both(cluster, 0, 2, false);
    tell_open_volume(cluster, 1);
    tell_ask(cluster, 1, VOLUME_WRITE, 5, 1);
    tell_wait_ms(cluster, 5);
    tell_begin(cluster, 0, 0, VOLUME_READ, 5, 1);
    tell_wait_ms(cluster, 50);
}

/* --- 233 -------------------------------------------------------------------------------------- */

/* Acknowledged one after the other, and not flushed: each tells that those before are. */
static void write_unflushed(struct cluster *cluster, unsigned owner)
{
    for (uint32_t i = 0; i < 24; i++)
        tell_ask(cluster, owner, VOLUME_WRITE, i, 1);
}

/* The power of all goes, and only node 1 is back: what was flushed is there. */
static void flushed_everywhere(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    write_unflushed(cluster, 0);
    tell_flush(cluster, 0);
    cluster_power_goes(cluster, 3);
    tell_node_loses_power(cluster, 0);
    tell_node_loses_power(cluster, 1);
    tell_owner_dies(cluster, 0);
    tell_node_starts(cluster, 1);
    tell_open_volume(cluster, 1);
    tell_read_all(cluster, 1);
}

/* --- 231 -------------------------------------------------------------------------------------- */

/* Node 0 is about to be called in sync, and its power goes at this very moment; the other is not
 * reached any more. */
static void in_sync_and_durable(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    first_goes_stale(cluster);
    tell_write_all(cluster, 0);
    tell_flush(cluster, 0);
    tell_node_starts(cluster, 0);
    tell_wait_for(cluster, "it joins", tell_first_joins);
    tell_node_loses_power(cluster, 0);
    tell_wait_for(cluster, "it is in sync", tell_first_in_sync);
    tell_owner_dies(cluster, 0);
    tell_cut_both(cluster, 1, 1, true);
    tell_node_starts(cluster, 0);
    tell_open_volume(cluster, 1);
    tell_read_all(cluster, 1);
}

/* --- 237 -------------------------------------------------------------------------------------- */

/* Node 0 acknowledged writes that node 1 did not, and loses them with its power: they are sent
 * there again. */
static void acknowledged_and_lost(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 1);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_flush(cluster, 0);
    tell_wait_ms(cluster, 1000);
    tell_hold(cluster, 0, 1, TELL_KIND(PART_WRITE));
    for (unsigned slot = 0; slot < CLUSTER_REQUESTS; slot++)
        tell_begin(cluster, 0, slot, VOLUME_WRITE, slot, 1);
    tell_wait_ms(cluster, 30);
    tell_node_loses_power(cluster, 0);
    tell_node_starts(cluster, 0);
    tell_wait_ms(cluster, 40);
    tell_release(cluster, 0, 1);
    tell_wait_ms(cluster, 50);
    tell_read_all(cluster, 0);
}

/* --- 241 -------------------------------------------------------------------------------------- */

/* The transaction that calls node 0 in sync is on its way when it goes away: it is needed still. */
static void joins_and_breaks(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    first_goes_stale(cluster);
    tell_node_starts(cluster, 0);
    tell_wait_for(cluster, "it joins", tell_first_joins);
    truth_goes(cluster, true);
    tell_node_stops(cluster, 0);
    tell_begin(cluster, 0, 0, VOLUME_WRITE, 7, 1);
    tell_wait_ms(cluster, 100);
    truth_goes(cluster, false);
    tell_wait_for(cluster, "it is in sync", tell_first_in_sync);
    tell_owner_dies(cluster, 0);
    tell_cut_both(cluster, 1, 1, true);
    tell_node_starts(cluster, 0);
    tell_open_volume(cluster, 1);
    tell_ask(cluster, 1, VOLUME_READ, 7, 1);
}

/* --- 234 -------------------------------------------------------------------------------------- */

/* Two copies are needed, and one is there: writes wait for another. */
static void too_few(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 2);
    cluster->min_copies = 2;
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_owner_dies(cluster, 0);
    tell_node_stops(cluster, 0);
    tell_open_volume(cluster, 1);
    tell_begin(cluster, 1, 0, VOLUME_WRITE, 5, 1);
    tell_wait_ms(cluster, 300);
    if (tell_well(cluster) && !cluster->owners[1].requests[0].busy)
        (void)cluster_wrong(cluster, "a write was acknowledged by one copy of two");
}

/* --- 243 -------------------------------------------------------------------------------------- */

/* Nobody writes any more: every copy hears that all is acknowledged. */
static void told_at_rest(struct cluster *cluster)
{
    cluster_open_story(cluster, 2, 1);
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_wait_ms(cluster, 500);
    for (unsigned i = 0; tell_well(cluster) && i < 2; i++) {
        const struct replica *replica = &tell_group_of(cluster, 0)->replica;
        if (replica->copies[i].told < replica_watermark(replica))
            (void)cluster_wrong(cluster, "node %u was not told what is acknowledged", i);
    }
}

/* --- 332 -------------------------------------------------------------------------------------- */

/* Two copies are needed, node 1 alone is in sync, and node 2 is away. Node 0 is to go, and is
 * needed yet. */
static void needed_yet(struct cluster *cluster)
{
    cluster_open_story(cluster, 3, 2);
    cluster->min_copies = 2;
    tell_open_volume(cluster, 0);
    tell_write_all(cluster, 0);
    tell_owner_dies(cluster, 0);
    tell_node_stops(cluster, 0);
    tell_node_stops(cluster, 2);
    tell_open_volume(cluster, 1);
    if (tell_well(cluster))
        copies_drop(cluster->owners[1].copies, 0, 1);
    tell_wait_ms(cluster, 100);
    tell_node_starts(cluster, 0);
    tell_begin(cluster, 1, 0, VOLUME_WRITE, 5, 1);
    tell_wait_ms(cluster, 1000);
    if (tell_well(cluster) && cluster->owners[1].requests[0].busy)
        (void)cluster_wrong(cluster, "a copy went that was needed");
}

const struct cluster_story cluster_rules[] = {
    {"all_acknowledge", all_acknowledge},
    {"older_comes_late", older_comes_late},
    {"heard_while_catching_up", heard_while_catching_up},
    {"joins_with_everything", joins_with_everything},
    {"told_twice", told_twice},
    {"bad_is_read_elsewhere", bad_is_read_elsewhere},
    {"seen_too_early", seen_too_early},
    {"old_transaction", old_transaction},
    {"unreached_copy", unreached_copy},
    {"fenced_write", fenced_write},
    {"stale_and_alone", stale_and_alone},
    {"cut_while_catching_up", cut_while_catching_up},
    {"one_write_ahead", one_write_ahead},
    {"repaired_late", repaired_late},
    {"acknowledged_before", acknowledged_before},
    {"power_after_the_fence", power_after_the_fence},
    {"flushed_everywhere", flushed_everywhere},
    {"in_sync_and_durable", in_sync_and_durable},
    {"acknowledged_and_lost", acknowledged_and_lost},
    {"joins_and_breaks", joins_and_breaks},
    {"too_few", too_few},
    {"told_at_rest", told_at_rest},
    {"needed_yet", needed_yet},
};
const uint32_t cluster_rule_count = COUNT_OF(cluster_rules);
