/* The text of the document, with ' for ", to be readable in C, and with marks, @ and a letter,
 * where something is put in: what depends on the node or on the caller, and what is said in many
 * places.
 *   @v  the version of OpenAPI          @c  the version of the contract
 *   @s  what identifies the caller      @b  the most calls of a batch
 *   @o  names of queries and mutations  @n  names of subscriptions, @f the first of them
 *   @t  the types of operations         @e  an event stream
 *   @1 to @4  the answers of /search, /schema, /batch, /subscribe that are no 200; @k of /call
 *   @a  all answers                     @d  schemas of details, each behind a comma
 *   @p  the parameters of every route   @h  the headers of every answer
 *   @j  the headers of an answer, and its content up to the schema
 *   @r  a result, up to the schema of its output */
#include "gateway/openapi.h"

const char *const openapi_text[] = {
    "{'openapi':'@v','info':{'title':'alknet gateway','version':'@c',"
    "'summary':'Calls the operations of an alknet node','description':'A fixed set of routes "
    "fronts a registry of operations. /search lists those that the caller may call, /schema has "
    "the whole specification of one. This document is for whoever asked for it: it names what "
    "that caller may call, and the errors which that declares.'},"
    "'servers':[{'url':'/'}],'security':@s,"
    "'tags':[{'name':'discovery','description':'What can be called'},"
    "{'name':'calls','description':'Single results'},"
    "{'name':'subscriptions','description':'Streams of values'}],'paths':{",

    "'/search':{'get':{'operationId':'search','tags':['discovery'],"
    "'summary':'The operations that the caller may call',"
    "'description':'Sorted by name; without a limit, all of them.','parameters':["
    "{'name':'q','in':'query','description':'A part of the name or the description, in any case',"
    "'schema':{'type':'string'}},"
    "{'name':'namespace','in':'query','description':'The first segment of the name',"
    "'schema':{'type':'string'}},"
    "{'name':'op_type','in':'query','schema':{'$ref':'#/components/schemas/OperationType'}},"
    "{'name':'cursor','in':'query','description':'next_cursor of the page before',"
    "'schema':{'type':'string'}},"
    "{'name':'limit','in':'query','description':'The most operations of a page',"
    "'schema':{'type':'integer','minimum':1}},@p],'responses':{"
    "'200':{'description':'A page of the list',@j"
    "@r{'$ref':'#/components/schemas/Operations'}}}}}}@1}}},",

    "'/schema':{'get':{'operationId':'schema','tags':['discovery'],"
    "'summary':'The whole specification of one operation',"
    "'description':'With its schemas, the errors that it declares, and who may call it.',"
    "'parameters':[{'name':'name','in':'query','required':true,'description':'Of the operation',"
    "'schema':{'type':'string'},'example':'services/list'},"
    "{'name':'peer','in':'query','description':'The peer of the node that serves it; without one "
    "it is the node itself. Takes the scope peers:list or peers:call',"
    "'schema':{'type':'string'}},@p],'responses':{"
    "'200':{'description':'The specification',@j"
    "@r{'$ref':'#/components/schemas/Specification'}}}}}}@2}}},",

    "'/call':{'post':{'operationId':'call','tags':['calls'],"
    "'summary':'Calls a query or a mutation','description':'Besides the answers of the gateway, "
    "this route has those of the operations: the codes that they declare are listed with their "
    "status.','parameters':[@p],'requestBody':{'required':true,'content':{'application/json':{"
    "'schema':{'$ref':'#/components/schemas/Call'},"
    "'example':{'operation':'services/list','input':{}}}}},'responses':{"
    "'200':{'description':'The output of the operation',@j"
    "{'$ref':'#/components/schemas/Result'}}}}@k}}},",

    "'/batch':{'post':{'operationId':'batch','tags':['calls'],"
    "'summary':'Runs several calls side by side','description':'The results are in the order of "
    "the calls; one that fails does so in its place.','parameters':[@p],"
    "'requestBody':{'required':true,'content':{'application/json':{"
    "'schema':{'$ref':'#/components/schemas/Batch'},"
    "'example':[{'operation':'services/list','input':{'limit':1}},"
    "{'operation':'services/schema','input':{'name':'services/list'}}]}}},'responses':{"
    "'200':{'description':'A result for each call',@j"
    "{'$ref':'#/components/schemas/Results'}}}}@3}}},",

    "'/subscribe':{'post':{'operationId':'subscribe','tags':['subscriptions'],"
    "'summary':'Follows a subscription','description':'What is refused is an ordinary error. The "
    "answer begins when the operation does; what fails from then on is an event. The proper end "
    "of the stream is the completion of the subscription, anything else its loss. To close the "
    "connection ends it.','parameters':[@p],'requestBody':{'required':true,'content':{"
    "'application/json':{'schema':{'$ref':'#/components/schemas/Subscription'},"
    "'example':{'operation':@f,'input':{}}}}},'responses':{"
    "'200':{'description':'The values, each when it comes','headers':{@h},"
    "'content':{'text/event-stream':@e}}@4}},"
    "'get':{'operationId':'subscribeByGet','tags':['subscriptions'],"
    "'summary':'Follows a subscription, for EventSource',"
    "'description':'As POST; operation and input are in the query. Before a proper end comes an "
    "event named complete.','parameters':["
    "{'name':'operation','in':'query','required':true,"
    "'schema':{'$ref':'#/components/schemas/SubscriptionName'},'example':@f},"
    "{'name':'input','in':'query','description':'{} without it',"
    "'content':{'application/json':{'schema':{},'example':{}}}},@p],'responses':{"
    "'200':{'description':'The values, each when it comes','headers':{@h},"
    "'content':{'text/event-stream':@e}}@4}}}},",

    "'components':{'securitySchemes':{'bearer':{'type':'http','scheme':'bearer',"
    "'description':'A token of the node'}},'parameters':{"
    "'timeout':{'name':'X-Timeout-Ms','in':'header','description':'Shortens the deadline of a "
    "call, in milliseconds; 0, and what is no such number, does not',"
    "'schema':{'type':'integer','minimum':0,'maximum':999999999}},"
    "'traceparent':{'name':'traceparent','in':'header','description':'A W3C trace context; it is "
    "handed back, and on to what is called. What is none is passed "
    "over','schema':{'type':'string','pattern':"
    "'^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$'}}},"
    "'headers':{'X-Request-Id':{'description':'Of the request, as in the log of the node',"
    "'required':true,'schema':{'type':'string','format':'uuid'}},"
    "'traceparent':{'description':'That of the request','schema':{'type':'string'}},"
    "'Retry-After':{'description':'Seconds, or a date','schema':{'type':'string'}},"
    "'WWW-Authenticate':{'description':'Bearer, and what is wrong with the token',"
    "'schema':{'type':'string'}}},'responses':{@a},'schemas':{",

    "'OperationType':{'enum':[@t]},"
    "'OperationName':{'type':'string','description':'Of a query or mutation; a leading slash is "
    "allowed','examples':[@o]},"
    "'SubscriptionName':{'type':'string','description':'Of a subscription; a leading slash is "
    "allowed','examples':[@n]},"
    "'Call':{'type':'object','additionalProperties':false,'required':['operation'],'properties':{"
    "'operation':{'$ref':'#/components/schemas/OperationName'},"
    "'input':{'description':'As the operation wants it; {} without it'}}},"
    "'Subscription':{'type':'object','additionalProperties':false,'required':['operation'],"
    "'properties':{"
    "'operation':{'$ref':'#/components/schemas/SubscriptionName'},"
    "'input':{'description':'As the operation wants it; {} without it'}}},"
    "'Calls':{'type':'array','maxItems':@b,'items':{'$ref':'#/components/schemas/Call'}},"
    "'Batch':{'oneOf':[{'$ref':'#/components/schemas/Calls'},"
    "{'type':'object','additionalProperties':false,'required':['calls'],'properties':{"
    "'calls':{'$ref':'#/components/schemas/Calls'}}}]},"
    "'Result':{'type':'object','required':['request_id','result','output'],'properties':{"
    "'request_id':{'type':'string','format':'uuid'},'result':{'const':'ok'},"
    "'output':{'description':'As the operation describes it'}}},"
    "'Failure':{'type':'object','required':['request_id','result','error'],'properties':{"
    "'request_id':{'type':'string','format':'uuid'},'result':{'const':'error'},"
    "'error':{'$ref':'#/components/schemas/Error'}}},"
    "'Results':{'type':'object','required':['results'],'properties':{'results':{"
    "'type':'array','items':{'oneOf':[{'$ref':'#/components/schemas/Result'},"
    "{'$ref':'#/components/schemas/Failure'}]}}}},",

    "'Operations':{'type':'object','required':['operations'],'properties':{"
    "'operations':{'type':'array','items':{'$ref':'#/components/schemas/Operation'}},"
    "'next_cursor':{'type':'string','description':'Where the next page begins, if there is "
    "one'}}},"
    "'Operation':{'type':'object','required':['name','namespace','op_type'],'properties':{"
    "'name':{'type':'string'},'namespace':{'type':'string'},"
    "'op_type':{'$ref':'#/components/schemas/OperationType'},"
    "'description':{'type':'string'}}},"
    "'Specification':{'type':'object','required':['name','namespace','op_type','visibility',"
    "'input_schema','output_schema','error_schemas','access_control'],'properties':{"
    "'name':{'type':'string'},'namespace':{'type':'string'},"
    "'op_type':{'$ref':'#/components/schemas/OperationType'},"
    "'visibility':{'enum':['external','internal']},"
    "'input_schema':{'$ref':'#/components/schemas/JsonSchema'},"
    "'output_schema':{'$ref':'#/components/schemas/JsonSchema'},"
    "'error_schemas':{'type':'array','items':{'type':'object',"
    "'required':['code','description','schema','http_status'],'properties':{"
    "'code':{'type':'string'},'description':{'type':'string'},"
    "'schema':{'$ref':'#/components/schemas/JsonSchema'},"
    "'http_status':{'type':['integer','null'],'minimum':400,'maximum':599}}}},"
    "'access_control':{'type':'object','required':['required_scopes','required_scopes_any',"
    "'resource_type','resource_action'],'properties':{"
    "'required_scopes':{'type':'array','items':{'type':'string'}},"
    "'required_scopes_any':{'type':['array','null'],'items':{'type':'string'}},"
    "'resource_type':{'type':['string','null']},'resource_action':{'type':['string','null']},"
    "'authenticated':{'type':'boolean'}}},"
    "'resource_id_path':{'type':'string'},'description':{'type':'string'}}},"
    "'JsonSchema':{'description':'null: there is none'},"
    "'Error':{'type':'object','required':['code','message','retryable'],'properties':{"
    "'code':{'type':'string','examples':['NOT_FOUND']},'message':{'type':'string'},"
    "'retryable':{'type':'boolean','description':'Whether the same call may succeed later'},"
    "'details':{'description':'Depends on the code'}}},"
    "'InputErrors':{'type':'object','required':['errors'],'properties':{'errors':{"
    "'type':'array','maxItems':8,'items':{'type':'object','required':['path','keyword',"
    "'message'],'properties':{'path':{'type':'string','description':'A JSON pointer into the "
    "input'},'keyword':{'type':'string'},'message':{'type':'string'}}}}}}@d}}}",
    NULL};

const char openapi_parameters[] =
    "{'$ref':'#/components/parameters/timeout'},{'$ref':'#/components/parameters/traceparent'}";
const char openapi_headers[] = "'X-Request-Id':{'$ref':'#/components/headers/X-Request-Id'},"
                               "'traceparent':{'$ref':'#/components/headers/traceparent'}";
const char openapi_json[] = "'headers':{@h},'content':{'application/json':{'schema':";
const char openapi_result[] =
    "{'allOf':[{'$ref':'#/components/schemas/Result'}],'properties':{'output':";

/* 3.1 cannot say more of a stream. */
const char openapi_stream_31[] =
    "{'schema':{'type':'string','description':'Events: data, one line of JSON, is a value; the "
    "event error has an error object as its data, and is the last. Comments keep the stream "
    "alive.'}}";
const char openapi_stream_32[] =
    "{'itemSchema':{'type':'object','required':['data'],'properties':{'data':{'type':'string',"
    "'contentMediaType':'application/json'},'event':{'type':'string'}},'anyOf':["
    "{'title':'value','properties':{'event':{'const':'message'},'data':{'contentSchema':{"
    "'description':'As the operation describes its output'}}}},"
    "{'title':'error','description':'It is the last','required':['event'],'properties':{"
    "'event':{'const':'error'},"
    "'data':{'contentSchema':{'$ref':'#/components/schemas/Error'}}}}]}}";
