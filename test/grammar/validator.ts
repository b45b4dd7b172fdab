/** An independent judge of JSON Schema. */
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

export function validatorOf(schema: unknown): ValidateFunction {
  const ajv = new Ajv2020({ strict: false, validateFormats: true, ownProperties: true });
  addFormats.default(ajv);
  return ajv.compile(schema as object | boolean);
}
