// The way to the servers: one connection at a time, shared by all streams, and the next address after each that failed.
//
// D1  A connection that failed one stream is not used for another: what looks connected may be cut off. Streams that are
//     open on it go on, and it is closed after the last of them.
import {
  type AttachRequest,
  type AttachResponse,
  ExecutionServiceClient,
  ExecutionServiceService,
  type ServeRequest,
  type ServeResponse,
} from "../contract/postern/v1/execution.js";
import {
  bearer,
  type ClientDuplex,
  channelCredentials,
  openDuplex,
  type ServerAddress,
  STREAM_CHANNEL_OPTIONS,
} from "../rpc/channel.js";

/** A frame, or one that is encoded already. */
export type AttachFrame = AttachRequest | Buffer;
export type AttachStream = ClientDuplex<AttachResponse, AttachFrame>;
export type ServeStream = ClientDuplex<ServeResponse, ServeRequest>;

export interface Dialled<Stream> {
  stream: Stream;
  /** The stream is over; `moveOn` when the next shall go elsewhere (D1). */
  over(moveOn: boolean): void;
}

export interface Dialer {
  attach(token: string): Dialled<AttachStream>;
  serve(token: string): Dialled<ServeStream>;
  close(): void;
}

interface Connection {
  client: ExecutionServiceClient;
  streams: number;
  retired: boolean;
}

const { attach } = ExecutionServiceService;
const serializeAttach = (frame: AttachFrame): Buffer =>
  Buffer.isBuffer(frame) ? frame : attach.requestSerialize(frame);

/** Throws AppError when a certificate cannot be read. */
export function createDialer(servers: readonly ServerAddress[]): Dialer {
  let position = 0;
  let current: Connection | undefined;

  function connect(): Connection {
    const server = servers[position++ % servers.length]!;
    const options = {
      ...STREAM_CHANNEL_OPTIONS,
      "grpc.use_local_subchannel_pool": 1, // connections are not shared with channels that were given up (D1)
    };
    return {
      client: new ExecutionServiceClient(server.address, channelCredentials(server), options),
      streams: 0,
      retired: false,
    };
  }

  function retire(connection: Connection): void {
    connection.retired = true;
    if (connection === current) current = undefined;
    if (connection.streams === 0) connection.client.close();
  }

  function dial<Stream>(open: (client: ExecutionServiceClient) => Stream): Dialled<Stream> {
    current ??= connect();
    const connection = current;
    const stream = open(connection.client);
    connection.streams++;
    return {
      stream,
      over(moveOn) {
        connection.streams--;
        if (moveOn || connection.retired) retire(connection);
      },
    };
  }

  return {
    attach: (token) =>
      dial((client) =>
        openDuplex<AttachFrame, AttachResponse>(
          client.makeBidiStreamRequest(attach.path, serializeAttach, attach.responseDeserialize, bearer(token)),
        ),
      ),
    serve: (token) => dial((client) => openDuplex<ServeRequest, ServeResponse>(client.serve(bearer(token)))),
    close() {
      if (current) retire(current);
    },
  };
}
