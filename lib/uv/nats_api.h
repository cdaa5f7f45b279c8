/* The functions of libnats that are used here. The library is loaded when the first connection is
 * opened and stays: a program that opens none needs neither it nor what it stands on. It ignores
 * SIGPIPE for the whole process, as programs on libuv do anyway. */
#ifndef ALK_UV_NATS_API_H
#define ALK_UV_NATS_API_H

#include <nats/nats.h>

#define NATS_FUNCTIONS(F)                                                                          \
    F(nats_GetLastError)                                                                           \
    F(natsStatus_GetText)                                                                          \
    F(natsOptions_Create)                                                                          \
    F(natsOptions_Destroy)                                                                         \
    F(natsOptions_SetURL)                                                                          \
    F(natsOptions_SetName)                                                                         \
    F(natsOptions_SetTimeout)                                                                      \
    F(natsOptions_SetAllowReconnect)                                                               \
    F(natsOptions_SetIgnoreDiscoveredServers)                                                      \
    F(natsOptions_SetSendAsap)                                                                     \
    F(natsOptions_SetIOBufSize)                                                                    \
    F(natsOptions_SetPingInterval)                                                                 \
    F(natsOptions_SetMaxPingsOut)                                                                  \
    F(natsOptions_SetErrorHandler)                                                                 \
    F(natsOptions_SetClosedCB)                                                                     \
    F(natsOptions_SetEventLoop)                                                                    \
    F(natsOptions_SetUserInfo)                                                                     \
    F(natsOptions_SetToken)                                                                        \
    F(natsOptions_SetUserCredentialsFromFiles)                                                     \
    F(natsOptions_SetNKeyFromSeed)                                                                 \
    F(natsOptions_SetSecure)                                                                       \
    F(natsOptions_LoadCATrustedCertificates)                                                       \
    F(natsOptions_LoadCertificatesChain)                                                           \
    F(natsConnection_Connect)                                                                      \
    F(natsConnection_Close)                                                                        \
    F(natsConnection_Destroy)                                                                      \
    F(natsConnection_ProcessReadEvent)                                                             \
    F(natsConnection_ProcessWriteEvent)                                                            \
    F(natsConnection_Publish)                                                                      \
    F(natsConnection_PublishMsg)                                                                   \
    F(natsConnection_SubscribeSync)                                                                \
    F(natsConnection_QueueSubscribeSync)                                                           \
    F(natsConnection_Buffered)                                                                     \
    F(natsConnection_GetMaxPayload)                                                                \
    F(natsConnection_GetLastError)                                                                 \
    F(natsSubscription_QueuedMsgs)                                                                 \
    F(natsSubscription_NextMsg)                                                                    \
    F(natsSubscription_Destroy)                                                                    \
    F(natsMsg_Create)                                                                              \
    F(natsMsgHeader_Set)                                                                           \
    F(natsMsg_GetSubject)                                                                          \
    F(natsMsg_GetReply)                                                                            \
    F(natsMsg_GetData)                                                                             \
    F(natsMsg_GetDataLength)                                                                       \
    F(natsMsg_Destroy)

struct nats_api {
#define FUNCTION(name) __typeof__(name) *name;
    NATS_FUNCTIONS(FUNCTION)
#undef FUNCTION
};

/* NULL: it cannot be loaded; why then says why. From any thread. */
const struct nats_api *nats_api_get(char *why, size_t size);

#endif
