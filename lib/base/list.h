/* SPDX-License-Identifier: Apache-2.0 */
/* A circular doubly linked list whose nodes live inside what they link. Allocates nothing. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *previous;
};

static inline void list_init(struct list *list)
{
    list->next = list;
    list->previous = list;
}

static inline bool list_empty(const struct list *list)
{
    return list->next == list;
}

static inline void list_insert_(struct list *node, struct list *before, struct list *after)
{
    node->previous = before;
    node->next = after;
    before->next = node;
    after->previous = node;
}

static inline void list_push_back(struct list *list, struct list *node)
{
    list_insert_(node, list->previous, list);
}

static inline void list_push_front(struct list *list, struct list *node)
{
    list_insert_(node, list, list->next);
}

/* Takes a node out and leaves it empty, so that taking it out twice does no harm. */
static inline void list_remove(struct list *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    list_init(node);
}

static inline struct list *list_first(const struct list *list)
{
    return list_empty(list) ? NULL : list->next;
}

static inline struct list *list_pop_front(struct list *list)
{
    struct list *node = list_first(list);
    if (node != NULL)
        list_remove(node);
    return node;
}

/* Moves everything in `from` to the end of `to`; `from` is left empty. */
static inline void list_splice_back(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->previous = to->previous;
    to->previous->next = from->next;
    from->previous->next = to;
    to->previous = from->previous;
    list_init(from);
}

/* Walk; the node under the hand may be removed when `_SAFE`. */
#define LIST_EACH(head, node) \
    for (struct list *node = (head)->next; node != (head); node = node->next)
#define LIST_EACH_SAFE(head, node, after)                                       \
    for (struct list *node = (head)->next, *after = node->next; node != (head); \
         node = after, after = node->next)
#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

#endif
