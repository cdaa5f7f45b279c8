// Judges OpenAPI documents, and values by the schemas in them. Reads {"documents":[…], "values":[{"document": index, "schema": "#/pointer", "value": …}]}
// from standard input, and writes {"documents":[[complaint, …], …], "values":[complaint or null, …]}.
import { Validator } from "@seriousme/openapi-schema-validator";
import SwaggerParser from "@apidevtools/swagger-parser";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

async function complaints(document) {
    const found = [];
    const official = new Validator();
    const result = await official.validate(structuredClone(document));
    if (!result.valid)
        found.push(`official schema: ${JSON.stringify(result.errors)}`);
    // It does not know 3.2 yet.
    if (!document.openapi.startsWith("3.2")) {
        try {
            await SwaggerParser.validate(structuredClone(document));
        } catch (error) {
            found.push(`swagger-parser: ${error}`);
        }
    }
    return found;
}

let text = "";
for await (const piece of process.stdin)
    text += piece;
const { documents = [], values = [] } = JSON.parse(text);
const ajv = new Ajv2020({ strict: false, validateSchema: false, allErrors: true });
addFormats(ajv);
documents.forEach((document, index) => ajv.addSchema(document, `document:${index}`));
const checks = new Map();
const verdicts = values.map(({ document, schema, value }) => {
    const uri = `document:${document}${schema}`;
    if (!checks.has(uri))
        checks.set(uri, ajv.compile({ $ref: uri }));
    const check = checks.get(uri);
    return check(value) ? null : `${uri}: ${ajv.errorsText(check.errors)}`;
});
process.stdout.write(JSON.stringify({ documents: await Promise.all(documents.map(complaints)), values: verdicts }));
