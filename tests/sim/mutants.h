/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Planted bugs. Each number is a MUTANT(number) in a room; the storm that must catch it lists its
 * table. A storm that has never caught one proves nothing. A number is one bug (scripts/measure).
 */
#ifndef SIM_MUTANTS_H
#define SIM_MUTANTS_H

/* X(number, what the bug does). 1 .. 19: journal, 20 .. 29: device, 30 .. 59: page and tree,
 * 60 .. 79: space,
 * 80 .. 99: store and volume. */
#define STORE_MUTANTS(X)                                                         \
    X(80, "a write is acknowledged without its record in the journal")           \
    X(81, "FUA does not flush")                                                  \
    X(82, "recovery does not look whether the data of a record arrived")         \
    X(83, "a flush covers what completed while it was under way")                \
    X(84, "a superblock names pages that are not durable")                       \
    X(85, "the CRC of a block is not looked at")                                 \
    X(86, "blocks of a request that failed are not read again")                  \
    X(89, "what lies in a gap is taken for the next block")                      \
    X(51, "blocks of a map page that recovery gave up read as zeros")            \
    X(92, "a read waits for no write that is under way")                         \
    X(93, "on a full store there is no space for what is overwritten either")    \
    X(94, "an old image that was put back is taken")                             \
    X(98, "space is forgotten because the map cannot be read just now")          \
    X(95, "recovery does not end with a checkpoint")                             \
    X(97, "what a checkpoint replaced is free before its superblock is durable") \
    X(60, "a freed block is used again before its record is durable")            \
    X(64, "new data takes the reserve")                                          \
    X(65, "what a checkpoint took and did not use leaks")                        \
    X(99, "pages that have no place yet are not counted against new data")       \
    X(78, "no more is kept for a checkpoint than the reserve")                   \
    X(79, "zeros over nothing make pages whether or not there is space")

/* 140 .. 149, and of the tree: views. Every seed of these storms has snapshots. Not 56: a store
 * opens no path of a cut for longer than an instant; only the storm of the tree holds some. */
#define VIEW_MUTANTS(X)                                                             \
    X(33, "a cut that the head has passed makes an owner")                          \
    X(52, "a block that an older view shows is freed")                              \
    X(53, "a block that the view after shows is freed with the one that goes")      \
    X(54, "no copy on write")                                                       \
    X(55, "an open path does not hear of a new owner")                              \
    X(57, "a page goes although an older cut relies on it")                         \
    X(58, "a page is renamed although the older cut has its own")                   \
    X(59, "a version that a view took over is replaced with the head's page")       \
    X(140, "a view is deleted while writes that carry it are under way")            \
    X(141, "the older snapshot does not get the page of the one that is deleted")   \
    X(142, "replay does not drop what a deleted snapshot held")                     \
    X(143, "a replayed write does not keep what a snapshot shows")                  \
    X(144, "on a full store what a snapshot holds counts as space that comes back") \
    X(145, "a snapshot is told gone before that is durable")                        \
    X(146, "a snapshot is told gone while replay may make a page for it")

#define DEVICE_MUTANTS(X)                                     \
    X(20, "a failed write or flush does not fail the device") \
    X(21, "a flush ends before one in flight that covers what it promises")

#define JOURNAL_MUTANTS(X)                                                    \
    X(1, "the sum of a batch is not looked at")                               \
    X(2, "an entry is done before an older batch is written")                 \
    X(3, "a flush covers what is written, applied or not")                    \
    X(4, "lost durable batches are no damage")                                \
    X(5, "a batch of an older incarnation is taken")                          \
    X(6, "replay would begin behind a record that is not applied")            \
    X(7, "the tail overtakes what is not trimmed")                            \
    X(8, "what batches beyond a hole knew durable is not heard")              \
    X(9, "a batch names as durable what was only written")                    \
    X(10, "a failed batch counts as written")                                 \
    X(11, "the scan ends at the end of the region")                           \
    X(12, "a batch begins where it does not fit and runs out of the region")  \
    X(13, "the chain goes on with a batch of another number")                 \
    X(14, "entries of a failed journal end well")                             \
    X(15, "a block that cannot be read at the end of the chain is no damage") \
    X(16, "an idle journal does not name what is durable")                    \
    X(17, "every record of the chain counts as durable")                      \
    X(18, "records that wait when the journal fails are forgotten")           \
    X(19, "a trim does not wake who waits for room")

#define TREE_MUTANTS(X)                                                                 \
    X(40, "a frozen page is changed in place")                                          \
    X(41, "a parent is written before its child's pointer is in")                       \
    X(42, "the CRC of a page is not looked at")                                         \
    X(43, "a page dropped while frozen is not written")                                 \
    X(44, "a pointer moves whatever its sequence")                                      \
    X(45, "a collapse to zero raises the sequences of blocks that it did not cover")    \
    X(46, "a replaced version of a page is forgotten")                                  \
    X(47, "nodes of the old segment table are still believed after the thaw")           \
    X(48, "an open path does not hear that a page was made or dropped")                 \
    X(49, "a segment leaves memory before the table that has it is durable")            \
    X(50, "a written page's new place is not told to its living parent")                \
    X(30, "a change that is not written yet is not told as one")                        \
    X(31, "an owner that is gone is still believed to be one because the table has it") \
    X(32, "a map page does not forget who its newest owner was")                        \
    X(52, "a block that an older view shows is freed")                                  \
    X(53, "a block that the view after shows is freed with the one that goes")          \
    X(54, "no copy on write")                                                           \
    X(55, "an open path does not hear of a new owner")                                  \
    X(56, "a reader of a cut stays on the head when that changes")                      \
    X(57, "a page goes although an older cut relies on it")                             \
    X(58, "a page is renamed although the older cut has its own")                       \
    X(59, "a version that a view took over is replaced with the head's page")

#define SPACE_MUTANTS(X)                                                          \
    X(60, "a freed block is used again before its record is durable")             \
    X(61, "a freed block is used again while it is read")                         \
    X(62, "a page is used again before the next checkpoint is durable")           \
    X(63, "the deferred list is not loaded")                                      \
    X(64, "new data takes the reserve")                                           \
    X(65, "what a checkpoint took and did not use leaks")                         \
    X(66, "blocks are given out while zeros are on their way to them")            \
    X(67, "a chunk is given back to the device although it was given out again")  \
    X(68, "blocks taken and not linked at the freeze leak")                       \
    X(69, "the index does not follow the bitmaps")                                \
    X(70, "no space, although quarantined blocks would do")                       \
    X(71, "blocks that recovery has not marked yet are given back to the device") \
    X(72, "blocks beyond the end of the device are given out")                    \
    X(73, "the pages of the deferred list leak")                                  \
    X(74, "a recovered block stays free")                                         \
    X(75, "what is left of a checkpoint's run is not given back")                 \
    X(76, "a checkpoint during recovery writes over what is to be replayed")      \
    X(77, "long runs are given out where space is being given back to the device")

/* 100 .. 119: catalog. */
#define CATALOG_MUTANTS(X)                                                       \
    X(100, "a deletion forgets the record before the store gave the space back") \
    X(101, "sequences are used before their lot is reserved")                    \
    X(102, "a lot of numbers is used without being reserved")                    \
    X(103, "a close gives back a sequence that was used")                        \
    X(104, "writes beyond a smaller end are taken while it shrinks")             \
    X(105, "what is cut off is not made zeros")                                  \
    X(106, "a deletion never reaches the store")                                 \
    X(107, "deletions that were interrupted are not looked for")                 \
    X(108, "opening for writing does not raise the epoch")                       \
    X(109, "creation does not look whether the name is taken")                   \
    X(110, "a session that ran out while the pool opened is the end of it")

/* 130 .. 139: cuts, families and jobs of volumes; 130 is "a write that slips under the drain". */
#define VOLUME_MUTANTS(X)                                                     \
    X(130, "a cut is taken while writes from before it are under way")        \
    X(131, "rollback leaves the blocks that it should write anew")            \
    X(132, "a family is read no farther than its first parent")               \
    X(133, "zeros over a hole of a clone leave a hole: the parent shows")     \
    X(134, "flatten does not wait for the range: it overwrites newer writes") \
    X(135, "rollback shares the places that the snapshot shows")

/* Of snapshots and clones: storm_family. */
#define FAMILY_MUTANTS(X)                                                                        \
    X(111, "flattening cuts the tie under the clone's own snapshot")                             \
    X(112, "what a crash left behind the newest snapshot is not swept")                          \
    X(113, "the store is told that no snapshot is kept before the one that it drops")            \
    X(114, "the head of a kept volume is emptied as if it had no snapshots")                     \
    X(115, "a rollback that was interrupted is not looked for, nor finished before the opening") \
    X(116, "a clone is not counted by its snapshot")                                             \
    X(117, "the cut of a closed volume is used again")                                           \
    X(118, "what a crash left of an import opens as if it were whole")                           \
    X(119, "a member of a group is deleted alone")

/* 250 .. 259: placement. */
#define PLACE_MUTANTS(X)                                                 \
    X(250, "a domain that holds a copy has room for another")            \
    X(251, "all stores have the same chance, whatever their capacity")   \
    X(252, "copies are not drawn to where there are fewer")              \
    X(253, "of what the hash proposes the first is taken, however full") \
    X(254, "all segments go to one group")                               \
    X(255, "a group is never split, and moved whatever that does")       \
    X(256, "a draining store is chosen")                                 \
    X(257, "a full store is chosen")

/* 260 .. 269: what the keeper decides. */
#define PLAN_MUTANTS(X)                                              \
    X(260, "a copy goes before the one that replaces it is in sync") \
    X(261, "stores are put out however many are silent")             \
    X(262, "groups that have most copies left come first")           \
    X(263, "as many copies as there are move at a time")             \
    X(264, "balancing stops as soon as it would not begin")          \
    X(265, "whole groups move, however much a store has too many")   \
    X(266, "a store that holds copies may be removed")               \
    X(267, "copies are made on stores that do not answer")           \
    X(268, "copies come nearer to each other for evenness")          \
    X(269, "a copy is begun of a group that nobody has")
/* 200 .. 249: copies. X(number, what the bug does, the story that catches it). Up to 221 each is a
 * rule of the protocol as it was modelled; then what else it marks, and what building it found.
 * Where the rule is a store's, its owner's or the metadata's, the false ones have the bug. */
#define REPLICA_MUTANTS(X)                                                                        \
    X(200, "acknowledge by majority, without a transaction", NULL)                                \
    X(201, "acknowledge before the transaction that drops a copy is known", NULL)                 \
    X(202, "a copy is added without its acknowledgements being required first", NULL)             \
    X(203, "no reconcile at takeover", NULL)                                                      \
    X(204, "a stale copy is promoted", NULL)                                                      \
    X(205, "a forced takeover fences those in sync only, and waits for nobody", "unreached_copy") \
    X(206, "an acknowledgement of an older membership counts", NULL)                              \
    X(207, "a late list or role answer counts", NULL)                                             \
    X(208, "the owner ignores its lease bound", "reads_past_the_bound")                           \
    X(209, "resync copies what was set aside, not what is above the watermark", NULL)             \
    X(210, "reads during a write that is under way", NULL)                                        \
    X(211, "what is set aside counts as never written", NULL)                                     \
    X(212, "an older version replaces a newer", NULL)                                             \
    X(213, "catching up begins anew whenever it is asked", NULL)                                  \
    X(214, "a bad block is served as zeros", NULL)                                                \
    X(215, "a copy that is catching up takes the watermark for its own", NULL)                    \
    X(216, "the epoch is not looked at by stores", NULL)                                          \
    X(217, "a copy's own unacknowledged blocks are ignored when it is back", NULL)                \
    X(218, "the generation is not looked at by stores", NULL)                                     \
    X(219, "a repair replaces whatever is there", NULL)                                           \
    X(220, "the fence does not survive the power", "fence_and_power")                             \
    X(221, "a transaction does not look at the epoch", NULL)                                      \
    X(222, "a store obeys epochs that it was not fenced to, if newer", "empty_store_in_sync")     \
    X(223, "an answer of a session that ended counts", "answer_of_an_ended_session")              \
    X(224, "the list is asked for before the copy gets every write", NULL)                        \
    X(225, "one copy that was not fenced is not waited for", "unreached_copy")                    \
    X(226, "the oldest wins at reconcile", NULL)                                                  \
    X(227, "the watermark is trusted after a power cut", NULL)                                    \
    X(228, "no copy is told its role after a takeover", NULL)                                     \
    X(229, "the last copy in sync may go", NULL)                                                  \
    X(230, "a copy is called in sync with blocks set aside", "forgotten_block")                   \
    X(231, "a copy is called in sync before what it copied is durable", NULL)                     \
    X(232, "the session goes on after what it acknowledged was lost", NULL)                       \
    X(233, "a flush asks one copy", NULL)                                                         \
    X(234, "writes are acknowledged below min_copies", NULL)                                      \
    X(235, "an older version that wins keeps its sequence", "newest_unreadable")                  \
    X(236, "a watermark is sent before reconcile has ended", NULL)                                \
    X(237, "what a copy acknowledged before its machine restarted counts", NULL)                  \
    X(238, "a copy that lost what it had is told that it is in sync", NULL)                       \
    X(239, "a new group counts a copy as told that was not asked", NULL)                          \
    X(241, "a copy that fails while it is being added is not required any more", NULL)            \
    X(242, "what a copy lost with its power it never had", "newest_unreadable_and_lost")          \
    X(243, "no watermark is sent when no write carries it", NULL)                                 \
    X(244, "a copy that was away trusts its watermark", "away_when_the_power_went")               \
    X(245, "what a copy lost is copied from it", "source_that_lost_its_power")                    \
    X(246, "a copy that lost its power while it is added answers for a flush",                    \
      "joins_without_power")

/* 270 .. 299: parts. */
#define PART_MUTANTS(X)                                                   \
    X(270, "a fence is not durable")                                      \
    X(271, "the epoch is not looked at again as a record enters a batch") \
    X(272, "the generation is not looked at")                             \
    X(273, "a watermark is adopted while catching up")                    \
    X(274, "a watermark is trusted after another boot")                   \
    X(275, "setting aside again sets aside again")                        \
    X(276, "a hole does not replace what is set aside")                   \
    X(277, "a resynced write enters only the head")                       \
    X(278, "a repair does not look at the sequence")                      \
    X(279, "flushed moves before the flush has ended")                    \
    X(280, "a version that a view shows already gets another place in the next")

/* 120 .. 129: metadata. */
#define META_MUTANTS(X)                              \
    X(120, "acknowledge before the commit is known") \
    X(121, "commit without a sync")                  \
    X(122, "what was leased outlives the process")   \
    X(123, "the revision is not stored")             \
    X(124, "what a failed sync left is believed")

/* 300 .. 319: the wire. */
#define PEER_MUTANTS(X)                                                      \
    X(300, "an answer goes to the first request of its type")                \
    X(301, "an answer of an ended session is taken")                         \
    X(302, "the sum of a header is not looked at")                           \
    X(303, "the sums of what was read are not looked at")                    \
    X(304, "a request ends twice when its session does")                     \
    X(305, "a canceled request ends while its memory is in use")             \
    X(306, "a broken connection's buffers go back while the store has them") \
    X(307, "blocks of a resync stay where they came, gaps or not")           \
    X(308, "the sums of what is written are not looked at")                  \
    X(309, "a request of an ended session is obeyed")                        \
    X(310, "who hears nothing waits for ever")                               \
    X(311, "the sum of what stands beside the data is not looked at")        \
    X(312, "what is settled is not sent")

/* 320 .. 339: the coordinator's I/O over copies, and what only whole clusters show of stores. */
/* X(number, what the bug does, the story that catches it; NULL: drawn seeds do). 327, 328 and
 * 335 are not here: docs/cluster-storm.md. Nor is 380, "recovery logs states of parts before its
 * checkpoint": the unit test unit/store/mutant-380 catches it. */
#define CLUSTER_MUTANTS(X)                                                                        \
    X(320, "a snapshot taken while a copy catches up is not gone through",                        \
      "cut_while_catching_up")                                                                    \
    X(321, "data in hand is answered whatever the lease says", "reads_past_the_bound")            \
    X(322, "catching up looks at the head only", "cut_while_catching_up")                         \
    X(323, "what is set aside is taken for newer than what the source has",                       \
      "set_aside_in_two_views")                                                                   \
    X(324, "a version that gets a new sequence is not written to those who have it",              \
      "newest_unreadable")                                                                        \
    X(325, "a list that could not be had counts as empty", "list_lost")                           \
    X(326, "a copy that was away trusts its own watermark", NULL)                                 \
    X(329, "recovery begins the new log beside a checkpoint of the old", NULL)                    \
    X(330, "a list of snapshots counts for those that are newer than it", "cut_while_views_go")   \
    X(332, "a copy that is to go goes although the others are too few", "needed_yet")             \
    X(333, "on a full store a checkpoint waits for what waits for it", NULL)                      \
    X(334, "zeros over nothing are no change at a copy that catches up", "discarded_on_its_way")  \
    X(331, "who has ended begins to copy anew when a flush is answered", "flushed_after_the_end") \
    X(336, "space that writes under way will take is promised to others", "one_store_is_full")    \
    X(337, "what the source cannot read is lost if the other copy is away for a moment",          \
      "other_is_away")                                                                            \
    X(338, "a store whose flush failed trusts what it had taken, on the same boot",               \
      "flush_fails_and_the_coordinator_dies")                                                     \
    X(339, "a store that lost something on the same boot says that it is the same boot",          \
      "flush_fails_and_is_not_heard_of")

/* The rules of the protocol, in whole clusters: X(number, what the bug does, the story that catches
 * it). */
#define CLUSTER_RULE_MUTANTS(X)                                                                   \
    X(200, "acknowledge by majority, without a transaction", "all_acknowledge")                   \
    X(201, "acknowledge before the transaction that drops a copy is known", "all_acknowledge")    \
    X(44, "a pointer moves whatever its sequence", "older_comes_late")                            \
    X(209, "resync copies what was set aside, not what is above the watermark",                   \
      "heard_while_catching_up")                                                                  \
    X(202, "a copy is added without its acknowledgements being required first",                   \
      "joins_with_everything")                                                                    \
    X(275, "setting aside again sets aside again", "told_twice")                                  \
    X(384, "a block that does not match its sum is read as zeros", "bad_is_read_elsewhere")       \
    X(92, "a read waits for no write that is under way", "seen_too_early")                        \
    X(203, "no reconcile at takeover", "newest_unreadable")                                       \
    X(221, "a transaction does not look at the epoch", "old_transaction")                         \
    X(205, "a forced takeover fences those in sync only, and waits for nobody", "unreached_copy") \
    X(225, "one copy that was not fenced is not waited for", "unreached_copy")                    \
    X(273, "a watermark is adopted while catching up", "heard_while_catching_up")                 \
    X(381, "a store looks at no epoch as a request arrives", "fenced_write")                      \
    X(204, "a stale copy is promoted", "stale_and_alone")                                         \
    X(383, "a copy that catches up sets nothing aside", "one_write_ahead")                        \
    X(272, "the generation is not looked at", "heard_while_catching_up")                          \
    X(278, "a repair does not look at the sequence", "repaired_late")                             \
    X(206, "an acknowledgement of an older membership counts", "acknowledged_before")             \
    X(208, "the owner ignores its lease bound", "reads_past_the_bound")                           \
    X(276, "a hole does not replace what is set aside", "one_write_ahead")                        \
    X(270, "a fence is not durable", "power_after_the_fence")                                     \
    X(235, "an older version that wins keeps its sequence", "newest_unreadable")                  \
    X(226, "the oldest wins at reconcile", "flush_fails_and_the_coordinator_dies")                \
    X(232, "the session goes on after what it acknowledged was lost",                             \
      "flush_fails_and_is_not_heard_of")                                                          \
    X(274, "a watermark is trusted after another boot", "flush_fails_and_the_coordinator_dies")   \
    X(277, "a resynced write enters only the head", "cut_while_catching_up")                      \
    X(233, "a flush asks one copy", "flushed_everywhere")                                         \
    X(231, "a copy is called in sync before what it copied is durable", "in_sync_and_durable")    \
    X(237, "what a copy acknowledged before its machine restarted counts",                        \
      "acknowledged_and_lost")                                                                    \
    X(241, "a copy that fails while it is being added is not required any more",                  \
      "joins_and_breaks")                                                                         \
    X(234, "writes are acknowledged below min_copies", "too_few")                                 \
    X(243, "no watermark is sent when no write carries it", "told_at_rest")

/* 340 .. 359: the keeper, what it wishes, what it keeps. */
#define KEEPER_MUTANTS(X)                                                               \
    X(340, "a copy goes because the keeper wished it, though it is needed since")       \
    X(341, "what the keeper has open is refused to whoever wants it")                   \
    X(342, "what is kept and then opened in the same process goes on yielding")         \
    X(343, "what a keeper changes does not compare its key")                            \
    X(344, "a keeper whose session may be over leads on")                               \
    X(345, "a copy that should go is wished away, whatever has happened since")         \
    X(346, "a volume that was taken from the keeper yields to the next who wants it")   \
    X(349, "whoever finds a keeper's key takes it for its own")                         \
    X(350, "a copy that went answers as if it were a member")                           \
    X(351, "a volume whose closing was not recorded is refused until the process ends") \
    X(352, "what was deleted and is kept for a clone is repaired by nobody")

/* 370 .. 379, 430 .. 439: families and catalogs in clusters. */
#define CLAN_MUTANTS(X)                                                                            \
    X(370, "how far the copies of a deleted volume were stays in the metadata")                    \
    X(371, "a volume that another process deletes has a damaged record")                           \
    X(372, "stores keep copies of the records of deleted volumes")                                 \
    X(373, "the key of who read a snapshot stays, if deleting it failed")                          \
    X(374, "the key of who reads a snapshot goes with a late word about who read it before")       \
    X(375, "who has lost a volume tries for ever to delete a group that it is in")                 \
    X(376, "writes of who has lost the volume wait for a sequence for ever")                       \
    X(377, "a rollback that another process has finished meanwhile is finished again, to nothing") \
    X(378, "whose session ran out has what another process changed without knowing")               \
    X(379, "an import is into whatever another process gave its name to meanwhile")                \
    X(430, "a session that ran out is taken up with what others took meanwhile")                   \
    X(431, "a transaction of which nobody knows whether it happened has failed")                   \
    X(432, "a store that is back is not sent what changed of records while it was away")           \
    X(434, "a volume that another process deletes while it is resized has damaged maps")           \
    X(435, "a volume that another process took and deleted while it is opened has damaged groups")

/* 353, a keeper begins to count silences anew, and 354, a store that was to be emptied when it was
 * put out is up when it is back: unit/keeper/mutant-353 and so on. */

#endif
