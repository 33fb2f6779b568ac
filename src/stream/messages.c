/*
 * messages.c
 *	  Control messages in the WAL.
 *
 * They travel with the events, so that a worker meets them in their place
 * among the changes and, since it replays from its last flush, exactly once in
 * effect.  A transactional message comes with its transaction's commit; one
 * that is not transactional comes at the place where it was written, whatever
 * becomes of the transaction.
 *
 * Other databases' workers read the same WAL, hence the database in the header
 * and not only the source.
 *
 * Any role may write messages with any prefix by pg_logical_emit_message(), so
 * ours carry a secret of the source, which stands in recsys.source.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/catalog.h"
#include "compat.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "stream/launcher.h"
#include "stream/shared.h"

/* Returns the end of the message in the WAL; nothing is flushed. */
XLogRecPtr
message_send(const RecsysSource *source, MessageKind kind, const void *data, Size len,
			 bool transactional)
{
	MessageHeader header;
	char	   *payload;
	XLogRecPtr	lsn;
	SourceShared *s;

	memset(&header, 0, sizeof(header));
	header.dboid = MyDatabaseId;
	header.source_id = source->id;
	header.kind = kind;
	memcpy(header.key, source->message_key, sizeof(header.key));
	/* decoding tells only the top-level transaction */
	if (transactional)
		header.xid = GetCurrentTransactionId();

	payload = palloc(sizeof(header) + len);
	memcpy(payload, &header, sizeof(header));
	if (len > 0)
		memcpy(payload + sizeof(header), data, len);
	lsn = compat_log_message(RECSYS_MESSAGE_PREFIX, payload,
							 sizeof(header) + len, transactional);
	pfree(payload);

	s = transactional ? shared_find(MyDatabaseId, source->id) : NULL;
	if (s != NULL)
		wake_touch_entry(s);
	return lsn;
}
